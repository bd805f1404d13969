"""Where and how the runs of a batch are made: worker processes, GPUs, a Ray cluster; and what happens when one dies.

`job` says what a run to make is, `queue` decides what starts where and what is tried again; `crew` keeps processes on
this machine, `cluster` asks a Ray cluster. Whatever makes a run, it goes on from its checkpoint: one that is tried again
ends equal to one that was never disturbed, on a CPU to the last bit.
"""

from __future__ import annotations
