# Everything runs from .venv, which the first target that needs it makes.

SHELL := bash
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
PYTHON311 ?= python3.11
PYTHON39 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.9.*/bin/python) python3.9)
BIN := .venv/bin
WORKDIR ?= runs/quickstart
# Processes of the tests; a file stays in one of them. Files come in the order of tests/conftest.py, long ones
# first: a long one that is begun last keeps the others waiting.
JOBS ?= 2
# What the quick start draws on: an image or a folder of images.
INPUT ?= $(WORKDIR)/examples

.PHONY: venv mediapipe task_library tensorflow25 quickstart audit test lint contracts types pytest fuzz chaos licences \
	wheel bazel build_file clean

venv: .venv/installed

# The stamp is newer than the files it was installed from, so nothing is installed twice.
.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mkd_tf needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@

# Other people's runtimes, for tests/conversion/tflite/test_clients.py, each in an environment of its own.
# MediaPipe and tfmot want different absl.
mediapipe: .venv-mediapipe/installed

.venv-mediapipe/installed: constraints-mediapipe.txt
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip install -c constraints-mediapipe.txt mediapipe
	touch $@

# The last Python with wheels of the Task Library is 3.11; its NumPy is 1.
task_library: .venv-task-library/installed

.venv-task-library/installed: constraints-task-library.txt
	$(PYTHON311) -m venv .venv-task-library
	.venv-task-library/bin/pip install -c constraints-task-library.txt tflite-support libusb-package 'numpy<2'
	touch $@

# The last Python with wheels of TensorFlow 2.5 is 3.9.
tensorflow25: .venv-tensorflow25/installed

.venv-tensorflow25/installed: constraints-tensorflow25.txt
	$(PYTHON39) -m venv .venv-tensorflow25
	.venv-tensorflow25/bin/pip install -c constraints-tensorflow25.txt tensorflow-cpu
	touch $@

quickstart: venv
	time $(BIN)/python -m mkd_tf.train --flagfile=configs/quickstart.cfg --workdir=$(WORKDIR)
	time $(BIN)/python -m mkd_tf.export --workdir=$(WORKDIR) --formats="tflite(quantization='int8')"
	$(BIN)/python -m mkd_tf.edgetpu_check --model=$(WORKDIR)/export/student_int8.tflite --compiler=never
	time $(BIN)/python -m mkd_tf.predict --model=$(WORKDIR)/student/best.keras --input=$(INPUT) --output=$(WORKDIR)/predictions

# Known advisories of what the constraints name; says so of each package of which none can be asked for.
audit: .venv-audit/installed
	.venv-audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner=off

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install 'pip-audit>=2.10,<3'
	touch $@

# Types are checked on one processor while pytest begins, which takes longer: its summary is the last that is printed.
test: venv
	$(MAKE) lint
	$(MAKE) contracts
	$(MAKE) -j2 types pytest

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

contracts: venv
	$(BIN)/lint-imports

types: venv
	$(BIN)/mypy

pytest: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The property tests of the readers on 10,000 generated annotations of each format, and on 10,000 mutations of
# each kind of stored file, instead of some tens.
fuzz: venv
	MKD_FUZZ=10000 $(BIN)/python -m pytest --timeout=3600 tests/data/sources/test_readers_fuzz.py \
		tests/data/sources/test_formats_fuzz.py tests/data/sources/test_values_fuzz.py \
		tests/data/sources/test_folders_fuzz.py tests/detectors/test_closed_fuzz.py tests/test_stored_files.py

# Runs that are killed at one named point after the other, in six configurations (docs/robustness.md).
chaos: venv
	$(BIN)/python -m tests.chaos

# After a change of the dependencies.
licences: venv
	$(BIN)/python -m tests.write_licences

# The wheel, and beside it a bill of materials of what this environment has installed.
wheel: venv
	$(BIN)/python -m build --wheel
	$(BIN)/python -m tests.write_licences --sbom=dist/mkd_tf.cdx.json

# Needs Bazel, which is no Python package: without it, it says what to install.
bazel: venv
	$(BIN)/python -m tests.run_bazel

# After a change of imports; tests/test_build_file.py fails until then.
build_file: venv
	$(BIN)/python -m tests.write_build

clean:
	rm -rf .venv .venv-mediapipe .venv-task-library .venv-tensorflow25 build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
