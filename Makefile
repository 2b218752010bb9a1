# make demo   sets up and runs the whole job on the emulated studio
# make test   sets up and runs every check and test
# Everything is installed into .venv, nothing is compiled, nothing outside this folder is changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV   := .venv
READY  := $(VENV)/.ready
BIN    := $(VENV)/bin

# The only packages installed without dependency resolution: face_recognition asks for `dlib`, which
# compiles for ten minutes; the lock holds `dlib-bin`, the same module as a wheel.
FACES  := face_recognition==1.3.0 face_recognition_models==0.3.0

.PHONY: help setup demo test lint unit slow clean

help:
	@sed -n '1,3s/^# //p' Makefile

setup: $(READY)

demo: $(READY)
	$(BIN)/deepflash demo demo

test: lint unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/pytest

slow: $(READY)
	$(BIN)/pytest -m slow

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "deepflash needs Python 3.11 or newer; found %s; call make PYTHON=/path/to/python3.11" % sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(FACES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
