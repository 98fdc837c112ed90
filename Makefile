# SPDX-License-Identifier: Apache-2.0
# The one front of the project. Every target sets up what it needs first; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# Small matrices, several processes: threads of the linear algebra library only wait for each other.
export OPENBLAS_NUM_THREADS ?= 1

BIN := .venv/bin
PYTHON := $(BIN)/python
PYTEST := $(PYTHON) -m pytest
# Two processes: enough for two cores; QEMU and compilers run beside them.
JOBS ?= 2
FUZZ_ROUNDS ?= 50
FUZZ_RUNS ?= 2000000
SEEDS ?= 10
API_EXAMPLES ?= 60
C_FILES = $(shell git ls-files --cached --others --exclude-standard \
    'device/*.c' 'device/*.h' 'tests/*.c' 'tests/*.h' ':!tests/golden')

.PHONY: help setup setup-demo demo test lint format unit api parity golden long kill load api-fuzz fuzz fuzz-host check-c docs-long readme-timing reference screenshots proof powercut bench-guard bench-packets bench-fleet verify bench bench-suite bench-growth bench-accuracy serve bench-on-device \
    constraints package clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: ## virtual environment, development packages, and as root Debian's compilers and QEMU
	@tools/setup.sh dev

setup-demo: ## the same with the packages that the demo needs, no more
	@tools/setup.sh demo

demo: setup-demo ## the main job on real data through the REST service; results in out/
	@$(PYTHON) -m server.demo

test: lint ## lint, then every test in its short form
	@$(PYTEST) -n $(JOBS) --dist worksteal -m "not long"

lint: setup ## ruff, mypy, import direction, layout of Python and C
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	@$(PYTHON) -m mypy
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES)

format: setup ## rewrite Python and C in the project's layout
	@$(BIN)/ruff check --fix --select I
	@$(BIN)/ruff format
	@$(BIN)/clang-format -i $(C_FILES)

unit: setup ## unit tests only
	@$(PYTEST) tests/unit

api: setup ## the whole service, in process
	@$(PYTEST) tests/api

parity: setup ## the C equals the twin, bit for bit, on the host and in the emulators
	@$(PYTEST) tests/parity -m "not long"

golden: setup ## rewrite the approved generated C; look at the diff before committing it
	@$(PYTEST) tests/golden --update-golden

kill: setup ## long form: the service is killed 200 times over each database, and resumes to the same bits; table in benchmarks/results/
	@mkdir -p out && HADAPT_KILL_RECORD=out/kill $(PYTEST) tests/faults -m long
	@cp out/kill/kill.md benchmarks/results/kill.md

load: setup ## the service under load over both databases, measured by wrk, into benchmarks/results/load.md (about 25 minutes)
	@$(PYTHON) -m benchmarks.load
	@$(PYTHON) -m benchmarks.load --postgresql --part samples devices overload

api-fuzz: setup ## long form: many made-up requests to every operation of the API; API_EXAMPLES=n
	@HADAPT_API_EXAMPLES=$(API_EXAMPLES) $(PYTEST) tests/api/test_strangers.py --timeout 3600

fuzz: setup ## long form: ten million inputs for the device's parsers; many more damaged ONNX files
	@$(PYTHON) -m benchmarks.fuzz
	@HADAPT_FUZZ_ROUNDS=$(FUZZ_ROUNDS) $(PYTEST) tests/unit/codegen/importer/test_importer_properties.py --timeout 3600

fuzz-host: setup ## long form: atheris over the host's parsers; FUZZ_RUNS=n
	@$(PYTHON) -m tests.fuzz.host_fuzz --runs $(FUZZ_RUNS)

long: setup ## every test that is marked as a long form
	@$(PYTEST) -m long --timeout 3600

powercut: setup ## long form: every power cut of a session, on the host and in QEMU
	@$(PYTHON) -m benchmarks.powercut

bench-guard: setup ## what the forgetting guard refuses on DSADS; HADAPT_DATA=folder
	@$(PYTHON) -m benchmarks.guard

bench-fleet: setup ## rollouts over 200 emulated devices: a good update reaches all, a harmful one stops at the canary
	@$(PYTHON) -m benchmarks.fleet

bench-packets: setup ## bytes of update packets beside the whole firmware, on DSADS; HADAPT_DATA=folder
	@$(PYTHON) -m benchmarks.packets

check-c: setup ## MISRA lint and line and branch coverage of the C runtime, resumable
	@$(PYTHON) -m benchmarks.check_c

proof: setup ## bit-exactness of every compiler, level, sanitizer, board and emulator
	@$(PYTHON) -m benchmarks.proof --long

verify: setup ## Frama-C proves that the integer kernels do not overflow
	@$(PYTHON) -m device.harness.overflow

bench: setup ## instructions, RAM, flash and stack into benchmarks/results/
	@$(PYTHON) -m benchmarks
	@$(PYTHON) -m benchmarks.cycles

bench-growth: setup ## cost of a step against width, depth, batch and classes, with plots
	@$(PYTHON) -m benchmarks.growth

bench-suite: setup ## flash, RAM, stack and instructions of the model suite on every board (15 minutes)
	@mkdir -p out && $(PYTHON) -m tests.suite.cost > out/suite.md && cp out/suite.md benchmarks/results/suite.md

reference: setup ## rewrite docs/reference and the quoted figures from what they describe
	@$(PYTHON) -m tools.reference

docs-long: setup ## the pages' examples that need PyTorch and TensorFlow, in environments of their own (2.5 GB)
	@$(PYTHON) -m tools.docs_long

readme-timing: ## the README's first session in a fresh clone and environment, timed step by step
	@tools/readme_timing.sh

screenshots: setup ## the pictures of docs/images, from a real browser
	@HADAPT_SCREENSHOTS=docs/images $(PYTEST) tests/browser -k screenshots

.PHONY: bench-on-device
bench-on-device: setup ## a whole DSADS run inside an emulated Cortex-M4; HADAPT_DATA=folder
	@$(PYTHON) -m benchmarks.on_device

bench-accuracy: setup ## core accuracy table on the sets in HADAPT_DATA, resumable; SEEDS=n
	@$(PYTHON) -m benchmarks.accuracy --core --seeds $(SEEDS) --jobs $(JOBS)
	@$(PYTHON) -m benchmarks.accuracy.convolutions

serve: setup-demo ## the REST service on this machine; Ctrl-C ends it
	@$(BIN)/hadapt serve

constraints: setup ## renew constraints.txt: the newest versions that fit pyproject.toml
	@tools/constraints.sh

package: setup ## the wheel, in dist/
	@$(PYTHON) -m hatchling build -t wheel

clean: ## remove what was made, but not .venv and not data
	@rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf
