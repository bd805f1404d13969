"""Hand a batch to Slurm from Python, share by share: python examples/submit.py 8 params/answer42/paper.yaml."""

import sys

import submitit  # pip install submitit; only this script needs it

of, files = int(sys.argv[1]), sys.argv[2:]
executor = submitit.AutoExecutor(folder="_build/slurm")
executor.update_parameters(timeout_min=720, gpus_per_node=1, cpus_per_task=8, mem_gb=32)
share = submitit.helpers.CommandFunction(["repro", "batch", *files, "--budget", "11h50m", "--timeout", "30m"])
jobs = executor.map_array(lambda i: share("--index", f"{i}/{of}"), range(of))
print(*(job.job_id for job in jobs), sep="\n")
