# Both commands of the README work first on a fresh machine that has Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin

# Oldest and newest versions that pyproject.toml allows; the rest of the oldest is as pinned.
OLDEST := jax==0.7.2 jaxlib==0.7.2 flax==0.11.2
PINNED := ^(jax|jaxlib|flax|treescope|tensorstore)==

.PHONY: demo test test-oldest test-newest test-onnx check clean

.venv/installed: requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cnnvision needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

demo: .venv/installed  ## trains, evaluates and draws a localizer in a few minutes
	@$(BIN)/python -m experiments.train --config=configs/localizer_shapes.py --workdir=runs/demo-$$(date +%Y%m%d-%H%M%S)

test: .venv/installed  ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal

.venv-oldest/installed: requirements.txt pyproject.toml setup.py
	$(PYTHON) -m venv .venv-oldest
	grep -vE '$(PINNED)' requirements.txt > .venv-oldest/others.txt
	.venv-oldest/bin/python -m pip install -q --disable-pip-version-check $(OLDEST) -r .venv-oldest/others.txt
	.venv-oldest/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

test-oldest: .venv-oldest/installed  ## the suite on the oldest JAX and Flax that are supported, in an environment of its own
	@.venv-oldest/bin/python -m pytest -n 2 --dist worksteal

.venv-newest/installed: pyproject.toml setup.py
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install -q --disable-pip-version-check --upgrade -e '.[test]'
	@touch $@

test-newest: .venv-newest/installed  ## the suite on the newest of everything that this Python has, in an environment of its own
	@.venv-newest/bin/python -m pytest -n 2 --dist worksteal

.venv-onnx/installed: pyproject.toml setup.py
	$(PYTHON) -m venv .venv-onnx
	.venv-onnx/bin/python -m pip install -q --disable-pip-version-check -e '.[test,onnx]'
	@touch $@

test-onnx: .venv-onnx/installed  ## what is exported to ONNX, in an environment of its own
	@.venv-onnx/bin/python -m pytest tests/runs/test_onnx.py

check: .venv/installed  ## before each commit, in a minute: form, rooms, documents, settings, references of ops
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -n 2 tests/test_layering.py tests/test_settings.py tests/ops tests/experiments/test_documents.py -k "not notebooks and not own_data"

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-onnx runs .pytest_cache
