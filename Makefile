# Everything runs from a frozen environment in .venv; `make` alone lists the targets.
UV := .tools/bin/uv
FLIGHTLINE := .venv/bin/flightline
export UV_PYTHON_DOWNLOADS := never
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status logs doctor test test-all pythons coverage mutation conformance lint format bench upstream docs site clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# The environment keeps the Python that it was made with; another PYTHON= makes it anew.
ifdef PYTHON
ASKED := $(shell $(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) and print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null)
KEPT := $(shell cat .tools/python 2>/dev/null)
ifneq ($(and $(ASKED),$(KEPT)),)
ifneq ($(ASKED),$(KEPT))
.PHONY: $(UV)
endif
endif
endif

# uv in an environment of its own: the first interpreter that really starts and can make one.
$(UV):
	@rm -rf .tools
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    echo "setting up with $$($$python --version)"; \
	    $$python -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9' \
	      && $$python -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))' > .tools/python && exit 0; \
	    exit 1; \
	  fi; \
	done; \
	echo "No usable Python 3.11 to 3.13 with venv and ensurepip." >&2; \
	echo "  repair: on Debian and Ubuntu: apt-get install python3-venv; or: make PYTHON=/path/to/python3.11" >&2; \
	exit 2

.venv/.ready: $(UV) uv.lock pyproject.toml
	@echo "installing the locked environment (about 1.4 GB with bytecode)"
	@$(UV) sync --quiet --frozen --compile-bytecode --python "$$(cat .tools/python)"
	@touch $@

setup: .venv/.ready ## create the environment from the frozen lock

demo: setup ## play the story on real data through Airflow (FRESH=1 starts anew)
	@$(FLIGHTLINE) demo $(if $(FRESH),--fresh)

up: setup ## start Airflow and MLflow in the background
	@$(FLIGHTLINE) up

down: setup ## stop them
	@$(FLIGHTLINE) down

status: setup ## what runs and where
	@$(FLIGHTLINE) status

logs: setup ## the last lines of every component's log
	@$(FLIGHTLINE) logs

doctor: setup ## what this machine lacks
	@$(FLIGHTLINE) doctor

test: setup ## the quick tier, under 12 minutes on 2 cores
	@.venv/bin/python -m pytest -n 2

test-all: setup ## the slow tier: real schedulers, kill tests, whole lives
	@.venv/bin/python -m pytest -m slow -n 2

PYTHONS := python3.11 python3.12 python3.13
pythons: ## the quick tier on each of PYTHONS="python3.11 python3.12 python3.13", in clones
	@TARGETS="$(TARGETS)" .ci/pythons $(PYTHONS)

coverage: setup ## branches of ml/core that its unit tests never take; fails under the floor
	@.venv/bin/coverage run -m pytest -q --hypothesis-profile=repeatable tests/unit/core ml/core
	@.venv/bin/coverage report

mutation: setup ## plant faults in gates, router and releases; list those that no test notices
	@$(UV) sync --quiet --frozen --group mutation --python "$$(cat .tools/python)"
	@.venv/bin/mutmut run
	@.venv/bin/mutmut results

conformance: setup ## whether use cases keep what they promise (SLUG=one for one of them)
	@CONFORMANCE_SLUG=$(SLUG) .venv/bin/python -m pytest tests/conformance -m "slow or not slow" \
	  --ignore=tests/conformance/test_broken.py -v --tb=short --no-header --durations=0 --durations-min=10

lint: setup ## format, lint, types, layers
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@MYPYPATH=dags:docs .venv/bin/mypy ml feature_repo dags/orchestration docs/generator
	@PYTHONPATH=dags .venv/bin/lint-imports

format: setup ## format and mend what can be mended
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: setup ## what everything costs, on one page (PARTS="start story" for some of it)
	@.venv/bin/python -m ml.local.bench $(PARTS)

upstream: setup ## merge the platform's updates from FROM=upstream/main; removed use cases stay out
	@.venv/bin/python -m ml.local.removal_commands $(or $(FROM),upstream/main)

docs: setup ## dbt's pages: all models, columns and their lineage
	@failed=0; for spec in $(wildcard ml/use_cases/*/spec.py); do \
	  slug=$$(basename $$(dirname $$spec)); \
	  if $(FLIGHTLINE) dbt $$slug --quiet docs generate --static; then \
	    echo "$$slug  $${MLOPS_HOME:-.mlops}/dbt/$$slug/static_index.html"; \
	  else failed=1; fi; \
	done; exit $$failed

site: setup ## this documentation as a site, with the reference from code
	@rm -rf docs/_build/html
	@.venv/bin/sphinx-build -q -W --keep-going -E -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "docs/_build/html/index.html"

clean: ## stop everything, delete local state and the environment
	@if [ -x $(FLIGHTLINE) ]; then $(FLIGHTLINE) down; fi
	@rm -rf .mlops .venv .tools
