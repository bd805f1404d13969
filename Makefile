# Two commands do everything: `make report` and `make test`. PYTHON names the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help report test test-all reliability lint types format lab lock clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Jackpot needs Python 3.11 or newer; this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing into .venv: about 5 GB, a few minutes"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

report: $(STAMP) ## train what is missing, execute the notebooks, build the HTML report
	@$(BIN)/repro report

test: $(STAMP) ## run the default test suite
	@$(BIN)/pytest -n auto

test-all: $(STAMP) ## run all tests, the slow and the browser ones too
	@$(BIN)/pytest -n auto -m ''

reliability: $(STAMP) ## try faults and spoilt files for real, half an hour, and publish what survived
	@rm -f _build/reliability.json
	@REPRO_RELIABILITY=$(CURDIR)/_build/reliability.json $(BIN)/pytest -n 0 -m 'reliability or slow' tests/test_faults.py tests/test_engine.py tests/test_store.py tests/test_fuzz.py
	@$(BIN)/python -m repro.book.reliability _build/reliability.json

lint: $(STAMP) ## check style, spelling, import order and that notebooks hold no outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

types: $(STAMP) ## check types
	@$(BIN)/pyright

format: $(STAMP) ## bring code and notebooks into the project's form
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .
	@$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lab: $(STAMP) ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. notebooks

lock: ## renew requirements.lock from pyproject.toml
	@PYTHON=$(PYTHON) sh tools/lock.sh

clean: ## remove what can be made again in seconds; never run records, tickets or data
	@rm -rf _build/html _build/book _build/notebooks _build/.doctrees _build/.jupyter_cache .pytest_cache .ruff_cache
	@find repro tests -name __pycache__ -type d -exec rm -rf {} +
