# Two commands for a first look: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CAMVID_PHOTOS := $(firstword $(wildcard data/camvid/images/test ../shared/data/camvid/images/test))
CAMVID_SHOWN := $(wordlist 1, 6, $(sort $(wildcard $(CAMVID_PHOTOS)/*f0[0-4]?[19]0.jpg)))

SECONDS ?= 600

.PHONY: install demo test test-slow fuzz soak lint format clean

install: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/segmenter predict examples $(CAMVID_SHOWN) --out demo --gallery

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz_images --seconds 30
	$(BIN)/python -m tests.fuzz_files --seconds 30
	$(BIN)/python -m tests.fuzz_bodies --seconds 20

# The service under honest and hostile clients at once.
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak_service --seconds $(SECONDS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist .pytest_cache .ruff_cache
