# Needs python3 (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed

.PHONY: help demo test lint format clean

help:
	@echo "make demo    fit, score, evaluate and report on simulated slices, offline, in minutes"
	@echo "make test    lint, types and the whole test suite"
	@echo "make format  let ruff lay out the code"

$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(DONE)
	$(BIN)/unremarkable demo

lint: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A worker for each processor, each on one thread: small networks gain nothing from more.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

format: $(DONE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
