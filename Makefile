# Everything a contributor runs. `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check format test soak sim bench demo clean

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SEEDS ?= 200

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Make .venv with the package (editable) and all tools; quick if nothing changed

# Made anew only when what is to be installed has changed.
$(READY): pyproject.toml constraints.txt tools/setup.sh
	tools/setup.sh $(VENV)
	@touch $@

check: $(READY) ## Format, lint, types of what ships, and the tests about the code itself
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) tools/typecheck.py
	$(PY) -m pytest -q tests/test_tidy.py tests/test_arrows.py tests/test_documents.py tests/test_hot_paths.py

format: $(READY) ## Format the code and apply the lints' safe fixes
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

test: $(READY) ## Every test but the soak tests; random order (repeat one: pytest --randomly-seed=N)
	$(PY) -m pytest -m "not soak and not ray" --numprocesses=2 --durations=10
	$(PY) -m pytest -m "not soak and ray" --numprocesses=2 --dist=loadfile --durations=10

soak: $(READY) ## The tests that run for minutes
	$(PY) -m pytest -m soak --timeout=3600 --durations=10

sim: $(READY) ## Simulate SEEDS=n histories with random faults (default 200), then all scenarios, with their gates
	TASKSERVICE_SIM_SEEDS=$(SEEDS) $(PY) -m pytest tests/simulation --timeout=3600
	$(VENV)/bin/taskservice simulate configs/scenarios/*.yaml

bench: $(READY) ## Measure the service on this machine (bench/durable.py --full: with two million tasks queued)
	$(PY) bench/run.py
	$(PY) bench/stores.py
	$(PY) bench/durable.py

demo: $(READY) ## Run the service on real input and show what came out
	$(PY) examples/demo.py

clean: ## Remove what the other targets made, .venv included
	rm -rf $(VENV) build demo-out bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
