# Two commands do everything on a fresh machine: `make parity` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Exact versions for development and CI; empty it to take the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# A strict editable install links file by file: a file that comes or goes needs a new one.
SOURCES := $(sort $(wildcard $(foreach depth,*.* */*.* */*/*.*,$(addsuffix /$(depth),package functional parallel data parity cli benchmarks))))
LAYOUT := $(VENV)/layout-$(shell echo "$(SOURCES)" | cksum | cut -d' ' -f1)

# The TPU compiler looks for a TPU whenever jax starts: it gets an environment of its own.
TPU_VENV ?= .venv-tpu
TPU_BIN := $(TPU_VENV)/bin
TPU_LAYOUT := $(TPU_VENV)/layout-$(shell echo "$(SOURCES)" | cksum | cut -d' ' -f1)

# So many tests run side by side.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)
# `make test AGAINST=wheel` tests the wheel, installed with the tools of .venv at hand, from a folder that holds nothing
# of the checkout.
AGAINST ?= checkout
WHEEL_VENV ?= .venv-wheel
ifeq ($(AGAINST),wheel)
PYTEST := cd $(WHEEL_VENV) && bin/python -m pytest -n $(WORKERS) -c $(CURDIR)/pyproject.toml $(CURDIR)/tests
endif

# The ends of the versions that we support: these Pythons, with .ci/oldest.txt and .ci/newest.txt.
OLDEST_PYTHON ?= python3.11
NEWEST_PYTHON ?= python3.13

# `make fuzz` takes so long, all readers together.
SECONDS ?= 600

# jax for a GPU brings gigabytes of CUDA, and would run the other targets on the GPU too.
GPU_VENV ?= .venv-gpu

.DEFAULT_GOAL := help
.PHONY: help install parity parity-gpu test test-fast test-matrix test-tpu fuzz scaling bench bench-compare mutants survey survey-models rivals notebooks notebooks-update docs export picture lint format wheel dist clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

install: $(LAYOUT)  ## the environment in .venv, with this checkout installed in it

parity: install  ## the main job: our gradients against jax.grad and torch on a real MNIST batch
	@$(BIN)/pullback parity

test: $(if $(filter wheel,$(AGAINST)),wheel,install)  ## all tests; with AGAINST=wheel, of the installed wheel
	@$(PYTEST)

test-fast: install  ## in a minute, for the edit loop: without what tests/conftest.py lists as slow
	@$(PYTEST) -m 'not slow'

# What meets jax's custom_vjp and checkpoint, which these flags of jax 0.12 make of another kind.
FLAGS := JAX_CUSTOM_VJP3=1 JAX_REMAT3=1
FLAGGED := tests/functional tests/parallel tests/parity/test_check.py tests/parity/test_kinds.py $(addprefix tests/parity/,case verdict probes mutation model)

test-matrix:  ## all tests with the oldest and the newest Python, jax and torch that we support, and under new flags of jax (an hour)
	@$(MAKE) --no-print-directory test VENV=.venv-oldest PYTHON=$(OLDEST_PYTHON) CONSTRAINTS=.ci/oldest.txt
	@$(MAKE) --no-print-directory test VENV=.venv-newest PYTHON=$(NEWEST_PYTHON) CONSTRAINTS=.ci/newest.txt
	@$(FLAGS) .venv-newest/bin/python -m pytest -n $(WORKERS) $(FLAGGED)

test-tpu: $(TPU_LAYOUT)  ## the real TPU compiler on our functions, with no TPU: tests, and a table of what it says
	@JAX_PLATFORMS=cpu $(TPU_BIN)/python -m pytest tests/tpu
	@JAX_PLATFORMS=cpu $(TPU_BIN)/python -m pullback.benchmarks.aot 2>/dev/null

fuzz: install  ## bad files for every reader, found by the code that they reach (10 minutes; SECONDS=60 is one)
	@$(BIN)/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --group fuzz
	@.ci/fuzz $(BIN)/python $(SECONDS)

parity-gpu:  ## on a machine with an NVIDIA GPU: the main job there, kept in docs/parity-gpu.txt
	@$(MAKE) --no-print-directory install VENV=$(GPU_VENV)
	@$(GPU_VENV)/bin/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) 'jax[cuda12]'
	@sh .ci/parity-gpu $(GPU_VENV)/bin/pullback

scaling: $(TPU_LAYOUT) install  ## how it scales: the TPU compiler's figures, and fake devices here; docs/scaling.md
	@JAX_PLATFORMS=cpu $(TPU_BIN)/python -m pullback.benchmarks.scaling 2>/dev/null
	@$(BIN)/python -m pullback.benchmarks.scaling_here

bench: install  ## how fast: everything in `pullback bench`, kept in benchmarks/results/latest.* (minutes)
	@$(BIN)/pullback bench --json benchmarks/results/latest.json --plot benchmarks/results/latest.png

bench-compare: install  ## the latest `make bench` against the newest version that is kept; fails if ours got slower
	@$(BIN)/python -m pullback.benchmarks.compare

mutants: install  ## the check on the check: planted wrong rules caught, right runs not called wrong (minutes)
	@$(BIN)/python benchmarks/mutants.py

rivals: install  ## the same right and wrong rules through other checkers of gradients too (minutes)
	@$(BIN)/python -m pullback.benchmarks.rivals

survey: install  ## is a right gradient of jax called wrong, is a wrong one seen: 380 functions (15 minutes, goes on where it stopped)
	@$(BIN)/python -m pullback.benchmarks.survey

survey-models: install  ## is a right port of a layer or a net called wrong, is a wrong one seen: flax and equinox against torch (minutes)
	@$(BIN)/python -m pullback.benchmarks.models

notebooks: install  ## run the lesson's notebooks; fails on an error or a kept output that is stale
	@$(BIN)/python notebooks/execute.py

notebooks-update: install  ## run the notebooks and keep their outputs
	@$(BIN)/python notebooks/execute.py --update

docs: install  ## the site, in build/docs, with no network; fails on a broken link and on any other warning
	@rm -rf build/docs
	@$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "build/docs/index.html"

export: install  ## scripts in notebooks/exported, of the cells that say `#| export`
	@$(BIN)/python notebooks/export.py

picture: install  ## docs/wrong-rule.png, the picture in the README; needs chromium or chrome
	@$(BIN)/python docs/picture.py

lint: install  ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: install  ## put the style right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: install  ## the wheel, built and installed in .venv-wheel
	@sh .ci/wheel $(VENV) $(WHEEL_VENV)

dist:  ## what goes to a package index, of the last commit: built, checked, installed in empty environments, and run
	@sh .ci/dist $(CONSTRAINTS) $(REPOSITORY)

clean:  ## remove the environment and everything built
	rm -rf $(VENV) $(WHEEL_VENV) $(TPU_VENV) $(GPU_VENV) .venv-oldest .venv-newest build docs/notebooks docs/project dist *.egg-info .jax_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/tools: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) 'pip>=25.1'
	$(BIN)/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --group dev
	@touch $@

$(LAYOUT): $(VENV)/tools
	@# setuptools warns, at length, that the link tree in build/ must stay: clean removes both
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[parity]' --config-settings editable_mode=strict
	@rm -f $(VENV)/layout-*
	@touch $@

$(TPU_LAYOUT): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_BIN)/python -m pip install -q --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) 'pip>=25.1'
	$(TPU_BIN)/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --group tpu
	PYTHONWARNINGS=ignore $(TPU_BIN)/python -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[cli]' --config-settings editable_mode=strict
	@rm -f $(TPU_VENV)/layout-*
	@touch $@
