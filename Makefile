# Every target does its own set-up: Python 3.11 or newer and a network for the first installation is all it needs.
# Installation happens once per extra, in .venv, and again when pyproject.toml or constraints.txt change.

VENV := .venv
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; done)
TEST_WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PRE_COMMIT_HOME := $(CURDIR)/$(VENV)/pre-commit
export VIDEO

.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean
.DELETE_ON_ERROR:

help: ## show this help
	@echo "worldline: show it a video, get a world you can step, differentiate and plan in"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(VENV)/installed-demo ## train a small world from scratch and write demo/index.html (VIDEO=my.mp4 also prompts with your own)
	$(VENV)/bin/worldline demo --out demo $${VIDEO:+--video "$$VIDEO"}

test: $(VENV)/installed-test ## run the tests (TEST_WORKERS=2 processes, ARGS="..." goes to pytest)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/installed-dev ## check style and types, as pre-commit and CI do
	$(VENV)/bin/pre-commit run --all-files --show-diff-on-failure

format: $(VENV)/installed-dev ## fix what can be fixed automatically
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove the demo's output, builds and caches; remove .venv by hand for a fresh start
	rm -rf demo build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find src tests experiments examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/installed-%: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	@touch $@

# pip is what `venv` makes last, so that an interrupted set-up is repeated.
$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo "worldline needs Python 3.11 or newer with venv and pip; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
