# Two commands do everything: `make up` and `make test`. `make help` lists the rest.
PYTHON ?= python3
STACK ?= local
VENV := .venv/bin
CLI := $(VENV)/vllm-runpod

.DEFAULT_GOAL := help
.PHONY: help setup setup-all worker-layer up preview refresh ask down clean test bench lint lock contract

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## the project's environments, without vLLM and the model
	@$(PYTHON) tools/setup.py dev

setup-all: ## setup, vLLM on the CPU and the local model
	@$(PYTHON) tools/setup.py all

worker-layer: ## the worker's packages for the GPU image's Python, for `vllm-runpod bake`
	@$(PYTHON) tools/setup.py worker-layer

ifeq ($(STACK),local)
up: setup-all ## bake, deploy and ask (STACK=local on this machine; STACK=prod on RunPod, asks before it spends)
else
up: setup
endif
	@$(CLI) up --stack $(STACK) $(if $(YES),--yes)

preview: setup ## the whole plan (STACK=prod works without key, CLI and network)
	@$(CLI) preview --stack $(STACK) $(if $(DIFF),--diff) $(if $(JSON),--json)

refresh: setup ## compare the state with what is really there
	@$(CLI) refresh --stack $(STACK) $(if $(YES),--yes)

# As it was typed: make would take `$HOME` in a question for a variable of its own.
ask: override export PROMPT := $(value PROMPT)
ask: setup ## ask the model: make ask PROMPT="..."
	@$(CLI) ask --stack $(STACK) -- "$$PROMPT"

down: setup ## end the stack; for STACK=local its processes and local state too
	@$(CLI) down --stack $(STACK) $(if $(YES),--yes)

clean: ## down, then remove environments, images and caches (the state of a paid stack stays)
	@if [ -x $(CLI) ]; then $(CLI) down --stack local --yes; fi
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@if grep -qrs '"urn"' .local/pulumi/.pulumi/stacks --include='*.json'; then \
		find .local -mindepth 1 -maxdepth 1 ! -name pulumi -exec rm -rf {} +; \
		echo "kept: .local/pulumi, the state of stacks that are still deployed (make down STACK=<name> ends one)"; \
	else rm -rf .local; fi

test: setup-all ## all tests that this machine can run; lists what it skipped and why
	@$(VENV)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench: setup-all ## measure, as ratios of one run: make bench BENCH=<name> [ARGS="..."]
	@$(VENV)/python -m benchmarks $(BENCH) $(ARGS)

lint: setup ## ruff and mypy, both strict
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

contract: setup ## fetch RunPod's public OpenAPI document, check its hash, run the contract tests
	@$(VENV)/python scripts/fetch_contract.py
	@$(VENV)/python -m pytest tests/contract

lock: setup ## compile requirements/*.in into locked files with hashes
	@$(PYTHON) tools/lock.py
