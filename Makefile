# make demo   set everything up, compile the shipped model, run it on the host and on a Cortex-M4
# make test   set up what the tests need, check and test
# make check  format, lint, types, warnings
# make format rewrite sources in the project's format
# make bench  measure; asserts nothing
# make docs   build the documentation into build/docs/
# make wheel  build the wheel and the sdist into dist/, and check what they say

VENV := .venv
BIN := $(VENV)/bin
C_FILES := $(shell find runtime_c -name '*.c' -o -name '*.h')
PY_DIRS := compiler tests examples benchmarks scripts
JOBS ?= 2

.PHONY: demo test check format bench docs wheel clean tools-demo tools-test

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

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -q
	@echo "build/docs/index.html"

wheel: $(VENV)/.test
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

tools-demo:
	@sh scripts/tools.sh demo

tools-test:
	@sh scripts/tools.sh test

$(VENV)/.core: setup.cfg pyproject.toml
	@sh scripts/venv.sh
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml
	@sh scripts/venv.sh test,check,docs
	@touch $@ $(VENV)/.core

$(VENV)/.docs: setup.cfg pyproject.toml
	@sh scripts/venv.sh docs
	@touch $@ $(VENV)/.core

$(VENV)/.bench: setup.cfg pyproject.toml
	@sh scripts/venv.sh test,check,docs,bench
	@touch $@ $(VENV)/.test $(VENV)/.core

clean:
	rm -rf $(VENV) build dist
