PYTHON := .venv/bin/python
ARGS ?=
export ONLY SEED MUTATE

.PHONY: install run up down demo series test faults bench check format

install:   ## virtual environment and servers; quick when nothing is missing
	@deploy/local/install.sh

run: install   ## the whole system in the foreground, until Ctrl-C
	@exec $(PYTHON) -m deploy.local.supervisor

up: install   ## the same in the background
	@exec $(PYTHON) -m deploy.local.background up

down: install
	@exec $(PYTHON) -m deploy.local.background down

demo: install   ## one order from the wish to the points, against a running system
	@exec $(PYTHON) -m deploy.demo

series: install   ## the recurring orders of the demo: meals every day, haircuts on the 5th
	@exec $(PYTHON) -m deploy.reference.series

test: install   ## all tests, or make test ARGS="tests/unit -x"
	@exec $(PYTHON) -m pytest $(or $(ARGS),-n 3)

faults:   ## the fault suite; ONLY=F7 or ONLY=commit, SEED=…, MUTATE=1
	@deploy/local/install.sh libfaketime iptables
	@exec $(PYTHON) -m tests.faults

bench: install
	@exec $(PYTHON) -m bench $(ARGS)

check: install   ## format, lint, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: install
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
