# Two commands set everything up: `make demo` runs the main job, `make test` the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-quick check docs install-hooks clean

demo: .venv/installed
	$(BIN)/python train.py fit --config demo.yaml

# one process a core, of one thread each: threads of several processes would wait for each other
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# without those that start processes
test-quick: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not processes"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the manual, into site/
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

install-hooks: .venv/installed
	$(BIN)/pre-commit install

clean:
	rm -rf .venv cache data runs site checkpoints/*/
