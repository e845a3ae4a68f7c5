# The two commands of README.md, and what stands around them. Everything a target needs it installs into .venv itself.
PYTHON ?= python3
SLOTS ?= 12
ROWS ?=
KILLS ?= 500
DEMO := $(PYTHON) scripts/demo.py
RUN := .venv/bin/python

.PHONY: help demo demo-status demo-down demo-clean test test-fast test-geth soak bench contracts readmes lock build environment

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: ## a network of four sealers on this machine, with trades on it (SLOTS=12, BASE_PORT=30310)
	@$(DEMO) up --slots $(SLOTS) $(if $(BASE_PORT),--base-port $(BASE_PORT))

demo-status: ## that network as it is now
	@$(DEMO) status

demo-down: ## stop it and keep its data: the next `make demo` continues the same chain
	@$(DEMO) down

demo-clean: ## stop it and remove it
	@$(DEMO) clean

test: ## everything that tests; it needs a Docker engine, which it sets up itself where it may (not with CLIQUE_SETUP=0)
	@$(PYTHON) scripts/environment.py test molecule
	@$(RUN) scripts/test.py

test-fast: environment ## what tests within a few minutes: all but the phases that bring up networks
	@$(RUN) scripts/test.py geth static unit contracts

test-geth: environment ## Go's tests of what our patches of geth touch
	@$(RUN) scripts/geth_tests.py

soak: environment ## the long forms of tests: a million datagrams, runs killed at every task, the bridge killed 500 times (KILLS=500), chaos (CHAOS_S=1800)
	@.venv/bin/pytest -s tests/soak
	@BRIDGE_KILLS=$(KILLS) $(RUN) scripts/test.py crashes

bench: environment ## measure, side by side with what people would use instead (ROWS="second_run_s …" for some rows)
	@$(RUN) tests/bench/bench.py $(ROWS)

contracts: environment ## compile contracts/src into contracts/artifacts
	@$(RUN) scripts/contracts.py

build: environment ## the collection's tarball, into build/
	@.venv/bin/ansible-galaxy collection build --force --output-path build

readmes: environment ## write into each role's README.md what its argument specs say
	@$(RUN) scripts/readmes.py

lock: environment ## renew the pins of requirements*.txt from pyproject.toml
	@$(RUN) scripts/lock.py

environment:
	@$(PYTHON) scripts/environment.py test
