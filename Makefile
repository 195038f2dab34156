PYTHON ?= python3
BIN := $(or $(TUNERY_VENV),.venv)/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-cdktn test-cosign test-transformers4 test-terraform test-images images test-cluster check policy format goldens lock bench bench-training bench-infra bench-cluster faults bench-hub synth diff deploy destroy clean

help:  ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## Install everything into .venv (done in a moment when nothing changed)
	@$(PYTHON) scripts/setup.py

demo: setup  ## Run the whole pipeline for real on a tiny model
	@$(BIN)/tunery demo

test: setup  ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS)

test-slow: setup  ## The tests that train for a minute or more: several processes, killed and stopped
	@$(BIN)/python -m pytest -n $(WORKERS) -m slow

test-cdktn: setup  ## Build the infrastructure's app with CDK Terrain too (installs it apart, 450 MB)
	@$(BIN)/python -m pytest -m cdktn tests/infra

test-transformers4: setup  ## Load what is published in the transformers of vLLM (installs it apart, 150 MB)
	@$(BIN)/python -m pytest -m "transformers4 or not transformers4" tests/stages/test_export_transformers4.py

test-cosign: setup  ## Check a published model's signature with cosign (builds it with Go, the first time)
	@scripts/cosign >/dev/null
	@$(BIN)/python -m pytest tests/hub/test_cosign.py

test-terraform: setup  ## Deploy and destroy an environment with cdktf, on the test provider
	@$(BIN)/python -m pytest -m terraform_full tests/infra

images: setup  ## Build the four images here with docker or buildah (BASES, PACKAGE_INDEX, CA: docs/images.md)
	@scripts/build_image $(or $(IMAGE),stager trainer server board)

test-images: setup  ## Build the stager for real, push, lock, pull and run it (root; buildah, runc, debootstrap, docker-registry)
	@$(BIN)/python -m pytest -n 0 -m images tests/images

check: setup  ## Lint, types, import direction, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.check_images
	scripts/regenerate --diff

policy: setup  ## Check the Terraform of all environments with checkov (installs it apart, 0.2 GB)
	@$(BIN)/python -m scripts.policy

test-cluster: setup  ## The tests that need Kubernetes: TUNERY_CLUSTER_CONTEXT=kind-kind, or a kit at TUNERY_CLUSTER_KIT
	@scripts/with_cluster.py $(BIN)/python -m pytest -n 0 $(or $(CLUSTER_TESTS),tests/cluster)

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

goldens: setup  ## Regenerate the files that are made from code
	scripts/regenerate

lock: setup  ## Resolve the versions again
	scripts/lock

bench: setup  ## Measure the speed against plain llamafactory-cli
	$(BIN)/python -m benchmarks.local

faults: setup  ## Play every fault on a training, on plain llamafactory-cli too, and write docs/faults.md
	@$(BIN)/python -m benchmarks.faults

bench-training: setup  ## Measure what the worker costs beside plain run_exp, and what a save does
	$(BIN)/python -m benchmarks.training

bench-infra: setup  ## Measure synthesis against plain imports of the bindings
	$(BIN)/python -m benchmarks.synth

bench-cluster: setup  ## Measure the way to a worker, and a queue of 200 runs, on a cluster as for test-cluster
	@scripts/with_cluster.py $(BIN)/python -m benchmarks.cluster

bench-hub: setup  ## Measure models through Artifactory against hf download and curl
	$(BIN)/python -m benchmarks.hub

synth: setup  ## Write the Terraform of all environments into cdktf.out
	@scripts/cdktf synth

diff: setup stacks  ## Show what `make deploy ENV=dev` would change
	@scripts/cdktf diff cluster-$(ENV)
	@scripts/cdktf diff platform-$(ENV)

deploy: setup stacks  ## Deploy an environment: make deploy ENV=dev
	@scripts/cdktf deploy cluster-$(ENV) platform-$(ENV)

destroy: setup stacks  ## Destroy an environment: make destroy ENV=dev
	@scripts/cdktf destroy cluster-$(ENV) platform-$(ENV)

.PHONY: stacks
stacks:
	@test -f configs/environments/$(ENV).yaml || { echo 'which environment? fix: name a file of configs/environments, such as ENV=dev' >&2; exit 64; }

clean:  ## Remove .venv and caches
	rm -rf .venv node_modules cdktf.out .mypy_cache .ruff_cache .pytest_cache .hypothesis
