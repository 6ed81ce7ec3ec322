# make demo   set everything up, compile the shipped model, run it on the host and on a Cortex-M4
# make test   set up what the tests need, check and test
# make check  format, lint, types, warnings
# make format rewrite sources in the project's format
# make bench  measure; asserts nothing
# make wheel  build the wheel and the sdist into dist/

VENV := .venv
BIN := $(VENV)/bin
C_FILES := $(shell find runtime_c -name '*.c' -o -name '*.h')
PY_DIRS := compiler tests examples benchmarks
JOBS ?= 2

.PHONY: demo test check format bench wheel clean tools-demo tools-test

demo: $(VENV)/.core tools-demo
	@$(BIN)/python examples/fashion_mnist/demo.py

test: $(VENV)/.test tools-test check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff format --check $(PY_DIRS)
	$(BIN)/ruff check $(PY_DIRS)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)

format: $(VENV)/.test
	$(BIN)/ruff format $(PY_DIRS)
	$(BIN)/ruff check --fix-only -q $(PY_DIRS)
	$(BIN)/clang-format -i $(C_FILES)

bench: $(VENV)/.bench tools-test
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/kernels.py

wheel: $(VENV)/.test
	$(BIN)/pip install -q build
	$(BIN)/python -m build

tools-demo:
	@sh scripts/tools.sh demo

tools-test:
	@sh scripts/tools.sh test

$(VENV)/.core: setup.cfg pyproject.toml
	@sh scripts/venv.sh
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml
	@sh scripts/venv.sh test,check
	@touch $@ $(VENV)/.core

$(VENV)/.bench: setup.cfg pyproject.toml
	@sh scripts/venv.sh test,check,bench
	@touch $@ $(VENV)/.test $(VENV)/.core

clean:
	rm -rf $(VENV) build dist
