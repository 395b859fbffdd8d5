# Two commands for a first look: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SHOWN := $(addprefix examples/,gallery p1070491.jpg p1070495.jpg p1070507.jpg p1070514.jpg road.jpg street.jpg)

SECONDS ?= 600

# Empty: the many processes of the tests share what one has compiled, in containers too.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo test test-slow test-gpu test-floor fuzz soak lint format docs docs-serve clean

install: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/segmenter predict $(SHOWN) --out demo --gallery --palette distinct

test: $(READY)
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

test-slow: $(READY)
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pytest -m slow

# Under eight minutes on one card: each check is made even if another fails, then speed is measured.
test-gpu: $(READY)
	status=0; \
	timeout 270 $(BIN)/python -m tests.gpu tests/gpu --durations 10 || status=$$?; \
	mkdir -p build; \
	! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
	timeout 200 $(BIN)/python benchmarks/gpu.py --seconds 150 --out build/gpu.json || status=$$?; \
	exit $$status

# The oldest libraries that pyproject.toml allows without extras, in an environment of their own.
FLOOR_TESTS := tests/model --ignore tests/model/test_encoder.py tests/checkpoints/test_model_file.py \
  tests/classes tests/data --ignore tests/data/decoding/test_decode.py tests/drawing tests/evaluation tests/fitting \
  tests/inference tests/recipe --ignore tests/recipe/test_published.py tests/runtimes/test_devices.py \
  tests/training/test_losses.py tests/training/test_loop.py tests/training/test_step.py tests/training/test_checkpoint.py

test-floor:
	$(PYTHON) -m venv build/floor
	$(PYTHON) tests/floor.py > build/floor.txt
	build/floor/bin/python -m pip install --quiet --constraint build/floor.txt --editable . beartype hypothesis pytest pytest-xdist
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 build/floor/bin/python -m pytest --numprocesses logical \
	  --maxprocesses 8 --dist loadfile $(FLOOR_TESTS)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz_images --seconds 30
	$(BIN)/python -m tests.fuzz_files --seconds 30
	$(BIN)/python -m tests.fuzz_bodies --seconds 20
	$(BIN)/python -m tests.fuzz_annotations --seconds 30

# The service under honest and hostile clients at once.
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak_service --seconds $(SECONDS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/hadolint Dockerfile

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, into build/site: a broken link, a page outside of the contents or a missing docstring fails.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

clean:
	rm -rf build dist .pytest_cache .ruff_cache
