# make demo    set up, fetch the small model, climb an example to a report (9 to 18 minutes the first time)
# make test    set up and run the tests
# make check   lint, format, types
# make bench   all benchmarks (hours); results go to benchmarks/results

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.set-up
# many tests wait for other processes: three keep two cores busy
WORKERS ?= 3
DEMO ?= examples/pharmacovigilance/demo.toml

.PHONY: demo test test-slow check format bench clean

demo: $(SETUP)
	$(BIN)/stepladder climb $(DEMO) --runs runs/demo; status=$$?; \
	  test $$status -le 1   # 1 is an honest "not met" or "undecided", not a failure of the demo

test: $(SETUP)
	$(BIN)/python -m pytest -q --numprocesses $(WORKERS)

test-slow: $(SETUP)
	$(BIN)/python -m pytest -q -m slow

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(SETUP)
	$(BIN)/python benchmarks/overhead.py --write
	$(BIN)/python benchmarks/throughput.py --write
	$(BIN)/python benchmarks/ladder.py pharmacovigilance --write
	$(BIN)/python benchmarks/ladder.py customer-intents --write
	$(BIN)/python benchmarks/serve_latency.py --write
	$(BIN)/python benchmarks/serve_memory.py --write
	$(BIN)/python benchmarks/train_speed.py --write
	$(BIN)/python benchmarks/check_100k.py --write benchmarks/results/check_100k.json
	$(BIN)/python benchmarks/bound_coverage.py --write benchmarks/results/bound_coverage.json
	$(BIN)/python benchmarks/decision_guarantee.py --workers 2 \
	  --write benchmarks/results/decision_guarantee.json

# the constraints make an install repeatable; pyproject.toml has the ranges that are promised
$(SETUP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --group dev --editable ".[all]"
	touch $(SETUP)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist runs
