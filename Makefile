# Everything runs in .venv, which the first target makes.
PYTHON ?= python3
BIN := .venv/bin
# A process for each core, each with one thread, as tests/conftest.py says.
PYTEST := $(BIN)/pytest -q -n logical --maxprocesses 8 --dist worksteal

.PHONY: demo test check types fast-tests

demo: .venv/run
	$(BIN)/run-graph emoji.yaml prompt="two strawberries on a blue background" output=demo.png

test: .venv/dev
	$(PYTEST)

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --jobs 2 types fast-tests  # pyright has one thread, and is done before the tests

types: .venv/dev
	$(BIN)/pyright

fast-tests: .venv/dev
	$(PYTEST) -m "not slow"

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/run-graph schema graphs/graph.schema.json
	touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
