# On a fresh Debian 12 or 13, as root, `make demo` and `make test` need no other step: each installs
# what it needs (packaging/development/debian-packages, and a virtual environment) and says so.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(BOOTD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bootd)
ENVIRONMENT := packaging/development/environment
PYTEST := $(ENVIRONMENT) pytest --quiet --numprocesses 2

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: test
test: set-up ## lint and all tests; as root
	@$(MAKE) --no-print-directory --keep-going unit integration crash

.PHONY: set-up
set-up:
	@$(ENVIRONMENT) true

.PHONY: lint
lint: ## ruff, mypy, import-linter, vulture, codespell; part of the unit tests too
	@$(PYTEST) tests/unit/test_linters.py

.PHONY: check
check: ## what T=PATH names, a test or a module: ruff, mypy, its unit tests; in seconds
	@$(ENVIRONMENT) packaging/development/check $(T)

.PHONY: unit
unit: ## tests without network and root; with COVERAGE=1 it fails below the floor
	@$(PYTEST) $(if $(COVERAGE),--cov --cov-report=term:skip-covered) tests/unit

.PHONY: mutate
mutate: ## small faults in three pure modules: does a test notice each? Ten minutes
	@PYTHONPATH=tests $(ENVIRONMENT) python -m support.mutate

.PHONY: integration
integration: as-root ## tests with real registries, buses, tools and mounts; as root
	@$(PYTEST) --dist loadfile tests/integration

.PHONY: crash
crash: as-root ## power cuts at every durable step; as root
	@$(PYTEST) tests/crash

.PHONY: test-vm
test-vm: as-root ## machines in QEMU that install, upgrade, fall back and lose power; as root
	@$(PYTEST) --verbose --maxschedchunk 1 tests/vm

.PHONY: daily-vm
daily-vm: as-root ## the part of test-vm that is run for every change; as root
	@$(PYTEST) --verbose --maxschedchunk 1 -m daily tests/vm

.PHONY: packages
packages: ## the Debian packages, beside the Containerfile that takes them
	@$(ENVIRONMENT) packaging/build-debian-packages packaging/container/packages

.PHONY: test-full
test-full: as-root ## heavy properties, those of /etc and of odd layers, forty times as often; as root
	@BOOTD_TEST_FULL=1 $(PYTEST) --timeout 3600 -m heavy tests/unit
	@BOOTD_TEST_FULL=1 $(PYTEST) --timeout 3600 tests/unit/test_etc_*.py tests/integration/test_account_tools.py \
	  tests/integration/test_etc_*.py tests/integration/test_odd_layers.py tests/crash/test_etc_cuts.py

.PHONY: demo
demo: as-root ## the main job from end to end, on this machine and nothing else; as root
	@PYTHONPATH=tests $(ENVIRONMENT) python -m demo

.PHONY: demo-vm
demo-vm: as-root ## a machine in QEMU that upgrades itself and falls back; as root
	@PYTHONPATH=tests $(ENVIRONMENT) python -m demo_vm

.PHONY: bench
bench: as-root ## bootd beside other tools, with targets, in bench-results/; as root
	@PYTHONPATH=tests BOOTD_EXTRA=bench $(ENVIRONMENT) python -m bench

.PHONY: bench-scale
bench-scale: as-root ## cost against size, files, layers, and history; as root
	@PYTHONPATH=tests BOOTD_EXTRA=bench $(ENVIRONMENT) python -m bench.scale

.PHONY: bench-plot
bench-plot: ## docs/performance.png and docs/scale.png of the newest results
	@PYTHONPATH=tests BOOTD_EXTRA=bench $(ENVIRONMENT) python -m bench.plot

.PHONY: bench-parts
bench-parts: as-root ## what an upgrade costs whose layers have tables; as root
	@PYTHONPATH=tests $(ENVIRONMENT) python -m bench.partial_fetch

.PHONY: fuzz
fuzz: ## each reader of bytes from outside for two minutes, or FUZZ_SECONDS
	@PYTHONPATH=tests BOOTD_EXTRA=fuzz $(ENVIRONMENT) python -m fuzz

.PHONY: clean-cache
clean-cache: ## remove images and virtual environments that were kept
	rm -rf -- "$(CACHE)"

.PHONY: as-root
as-root:
	@[ "$$(id -u)" = 0 ] || { \
	  echo 'This mounts file systems and keeps owners: run it as root. "make lint unit" needs no root.'; \
	  exit 1; }
