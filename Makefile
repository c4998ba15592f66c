# `make demo` and `make test` set up everything they need in .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo
TRAIN_DEMO ?= train-demo-files
# Two test workers on two cores: threads within each would only wait for each other.
TEST_ENV = OMP_NUM_THREADS=1

.PHONY: demo train-demo test quick lint types docs clean

$(BIN)/cryosentinel: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(BIN)/cryosentinel $@

demo: $(BIN)/cryosentinel
	test -f $(DEMO)/catalogue/catalog.json || $(BIN)/cryosentinel simulate $(DEMO)/catalogue --seed 1
	cd $(DEMO) && $(abspath $(BIN))/cryosentinel change 2017 2023 --config $(abspath examples)/demo.toml \
		--aoi catalogue/aoi.geojson --catalog catalogue

train-demo: $(BIN)/cryosentinel
	$(BIN)/python examples/train_demo.py $(TRAIN_DEMO) --cryosentinel $(abspath $(BIN))/cryosentinel
	cp $(TRAIN_DEMO)/soup.ckpt soup.ckpt

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

test: lint types
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

docs:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(DEMO) $(TRAIN_DEMO) soup.ckpt site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
