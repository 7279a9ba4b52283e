# Everything runs from .venv, which the first target that needs it makes.

SHELL := bash
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/quickstart
# Processes of the tests; a file stays in one of them. Files come in the order of tests/conftest.py, long ones
# first: a long one that is begun last keeps the others waiting.
JOBS ?= 2
# What the quick start draws on: an image or a folder of images.
INPUT ?= $(WORKDIR)/examples

.PHONY: venv mediapipe quickstart test lint contracts types pytest fuzz bazel build_file clean

venv: .venv/installed

# The stamp is newer than the files it was installed from, so nothing is installed twice.
.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mkd_tf needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@

# MediaPipe's own detector, for tests/conversion/tflite/test_mediapipe.py: it and tfmot want different absl.
mediapipe: .venv-mediapipe/installed

.venv-mediapipe/installed: constraints-mediapipe.txt
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip install -c constraints-mediapipe.txt mediapipe
	touch $@

quickstart: venv
	time $(BIN)/python -m mkd_tf.train --flagfile=configs/quickstart.cfg --workdir=$(WORKDIR)
	time $(BIN)/python -m mkd_tf.export --workdir=$(WORKDIR) --formats="tflite(quantization='int8')"
	$(BIN)/python -m mkd_tf.edgetpu_check --model=$(WORKDIR)/export/student_int8.tflite --compiler=never
	time $(BIN)/python -m mkd_tf.predict --model=$(WORKDIR)/student/best.keras --input=$(INPUT) --output=$(WORKDIR)/predictions

# In this order also with -j: the summary of pytest is the last that is printed.
test: venv
	$(MAKE) lint
	$(MAKE) contracts
	$(MAKE) types
	$(MAKE) pytest

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

contracts: venv
	$(BIN)/lint-imports

types: venv
	$(BIN)/mypy

pytest: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The property tests of the readers on 10,000 generated annotations of each format, instead of some tens.
fuzz: venv
	MKD_FUZZ=10000 $(BIN)/python -m pytest --timeout=3600 tests/data/sources/test_readers_fuzz.py \
		tests/data/sources/test_formats_fuzz.py tests/data/sources/test_values_fuzz.py \
		tests/data/sources/test_folders_fuzz.py

# Needs Bazel, which is no Python package: without it, it says what to install.
bazel: venv
	$(BIN)/python -m tests.run_bazel

# After a change of imports; tests/test_build_file.py fails until then.
build_file: venv
	$(BIN)/python -m tests.write_build

clean:
	rm -rf .venv .venv-mediapipe build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
