# Each target makes the virtual environment that it needs. A machine with Python >= 3.11 is enough:
#   make demo    purify the labels of digits with 40 % noise and retrain a network (installs torch)
#   make test    run the tests on the newest supported versions
# Others: test-oldest, soak (the reliability suite in its long form), lint, format, doc, clean.

PYTHON ?= python3
# The oldest supported NumPy and SciPy have wheels for Python 3.11 and none for newer ones.
PYTHON_OLDEST ?= $(shell command -v python3.11 || echo $(PYTHON))
VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
TEST_PROCESSES ?= 2
PYTEST_ARGS ?=
# Batches that the long form of the reliability suite tries on each estimator.
SOAK ?= 2000

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEFINED_BY := pyproject.toml setup.cfg constraints.txt
# One thread for each test process, so that they do not fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-oldest soak lint format doc clean

demo: $(VENV)/.neural
	$(BIN)/python examples/plot_purify_digits.py

test: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

test-oldest: $(VENV_OLDEST)/.test-core
	$(ONE_THREAD) $(VENV_OLDEST)/bin/python -m pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

soak: $(VENV)/.test
	SKCLEAN_SOAK=$(SOAK) $(ONE_THREAD) $(BIN)/python -m pytest -n $(TEST_PROCESSES) \
	  tests/reliability $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doc: $(VENV)/.doc
	$(BIN)/sphinx-build -W --keep-going -b html doc doc/_build/html

clean:
	rm -rf $(VENV) $(VENV_OLDEST) build dist doc/_build doc/auto_examples skclean.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "skclean: expected Python >= 3.11, got " + sys.version.split()[0] + "; do make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.neural $(VENV)/.test $(VENV)/.dev $(VENV)/.doc: $(VENV)/.%: $(DEFINED_BY) | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[$*]"
	@touch $@

$(VENV_OLDEST)/.test-core: pyproject.toml setup.cfg constraints-oldest.txt
	$(PYTHON_OLDEST) -m venv --clear $(VENV_OLDEST)
	$(VENV_OLDEST)/bin/python -m pip --disable-pip-version-check --quiet install \
	  -c constraints-oldest.txt -e ".[test-core]"
	@touch $@
