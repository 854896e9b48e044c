# Every target that needs Python makes .venv first, once per change of pyproject.toml or constraints.txt.

PYTHON ?= python3
PLATFORM ?= cuda
NUM_WORKERS ?= 2
VENV := .venv
STAMP := $(VENV)/.installed
PYTEST = JAX_PLATFORMS=cpu $(VENV)/bin/python -m pytest
# Most of the default tests' time is compilation, which these shorten; programs that run for long are slower.
COMPILES_FAST = XLA_FLAGS="$$XLA_FLAGS --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 \
	--xla_cpu_parallel_codegen_split_count=1"

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.DEFAULT_GOAL := help
.PHONY: help venv discover test test-slow test-properties test-learning test-multiprocess test-accelerator lint bench bench-discovery bench-ppo bench-incontext bench-teachers bench-metabo pretrain clean

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

venv: $(STAMP) ## install into .venv (PYTHON=python3.12 chooses another Python)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or newer; install one and name it, as in 'make PYTHON=python3.12 $(MAKECMDGOALS)'." >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

discover: $(STAMP) ## discover a temporally-aware LPG on this machine; run again to continue
	$(VENV)/bin/metarl discover --preset ta-lpg-cpu --name ta-lpg-cpu

pretrain: $(STAMP) ## pretrain a transformer that acts in bandits it has never seen; run again to continue
	$(VENV)/bin/metarl pretrain --preset dpt-bandit-cpu --name dpt-bandit-cpu

test: $(STAMP) ## run the default tests
	$(COMPILES_FAST) $(PYTEST) -n $(NUM_WORKERS)

test-slow: $(STAMP) ## run the tests that compile or run for long
	$(PYTEST) -n $(NUM_WORKERS) -m 'slow and not accelerator'

test-properties: $(STAMP) ## look for counterexamples to properties: other examples every time, five times as many
	$(COMPILES_FAST) $(PYTEST) -n $(NUM_WORKERS) -m 'hypothesis and not slow and not accelerator' --hypothesis-profile=search

test-learning: $(STAMP) ## run the tests that train until something is learned
	$(PYTEST) -n $(NUM_WORKERS) -m 'learning and not accelerator'

test-multiprocess: $(STAMP) ## run the tests that start several processes
	$(PYTEST) -m 'multiprocess and not accelerator'

test-accelerator: $(STAMP) ## run the tests for an accelerator (PLATFORM=tpu chooses another)
	METARL_TEST_PLATFORM=$(PLATFORM) $(VENV)/bin/python -m pytest -m accelerator

lint: $(STAMP) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

bench-discovery: $(STAMP) ## measure the throughput of discovery
	$(VENV)/bin/python tests/benchmarks/discovery_throughput.py

bench-ppo: $(STAMP) ## measure the throughput of PPO (PUBLIC=directory of a purejaxrl checkout measures that beside it)
	$(VENV)/bin/python tests/benchmarks/ppo_throughput.py $(if $(PUBLIC),--public $(PUBLIC))

bench-incontext: $(STAMP) ## measure data, roll-outs and updates of in-context learning (beside a GPT-2 where torch and transformers are installed)
	$(VENV)/bin/python tests/benchmarks/incontext_throughput.py
	if $(VENV)/bin/python -c 'import jax; raise SystemExit(jax.default_backend() == "cpu")'; \
	then $(VENV)/bin/python tests/benchmarks/incontext_scale.py; \
	else echo "tokens per second at scale are for an accelerator: tests/benchmarks/incontext_scale.py --help"; fi

bench-teachers: $(STAMP) ## measure teachers on the toy, the walker, and both with a student in one program
	$(VENV)/bin/python tests/benchmarks/teaching_throughput.py

bench-metabo: $(STAMP) ## measure training, trajectories, memory and latency of meta-Bayesian optimisation
	$(VENV)/bin/python tests/benchmarks/metabo_throughput.py

bench: bench-discovery bench-ppo bench-incontext bench-teachers bench-metabo ## run all benchmarks

clean: ## remove caches and build outputs; runs and .venv stay
	rm -rf build dist .jax_cache .pytest_cache .ruff_cache .hypothesis
	find metarl envs populations analysis tests -name __pycache__ -type d -prune -exec rm -rf {} +
