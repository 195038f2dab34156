PYTHON ?= python3
BIN := $(or $(TUNERY_VENV),.venv)/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format goldens lock bench clean

help:  ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## Install everything into .venv (done in a moment when nothing changed)
	@$(PYTHON) scripts/setup.py

demo: setup  ## Run the whole pipeline for real on a tiny model
	@$(BIN)/tunery demo

test: setup  ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS)

check: setup  ## Lint, types, import direction, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/regenerate --diff

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

goldens: setup  ## Regenerate the files that are made from code
	scripts/regenerate

lock: setup  ## Resolve the versions again
	scripts/lock

bench: setup  ## Measure the speed against plain llamafactory-cli
	$(BIN)/python -m benchmarks.local

clean:  ## Remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
