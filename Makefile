# Everything runs in .venv, which the first target makes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check

demo: .venv/run
	$(BIN)/run-graph emoji.yaml prompt="two strawberries on a blue background" output=demo.png

test: .venv/dev
	$(BIN)/pytest

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest -m "not slow"

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/run-graph schema graphs/graph.schema.json
	touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
