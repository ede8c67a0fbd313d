# Everything is set up by the targets themselves: Python 3.11 (venv), git and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
UV := .uv/bin/uv
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
# Many processes are started, by `make up` and by the tests: what is compiled once is kept, as pip does.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
# Compiled by hatch_build.py, which uv doesn't let speak: what could not be compiled is told here.
EXTENSIONS := $(shell find src -name '*.pyx')
BUILD := pyproject.toml hatch_build.py $(EXTENSIONS) $(shell find src -name '*.pxd')
define tell
@for each in $(EXTENSIONS:.pyx=); do ls $$each.*.so >/dev/null 2>&1 || \
	echo "$$each.pyx is not compiled (no C compiler, or no Python.h?): all works without it, slower"; done
endef
# Many tests wait more than they compute: twice as many workers as processors.
WAITING := $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)

.DEFAULT_GOAL := help
.PHONY: help up check test test-aws bench format wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/.run ## set up and start the backend (data in ./data, stop with Ctrl-C)
	@$(BIN)/headrace up

check: .venv/.dev ## lint, types, layers, unit and conformance tests, in under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy & $(BIN)/pytest -n $(WAITING) --dist loadfile tests/conformance tests/unit; tests=$$?; wait $$! && exit $$tests

test: .venv/.dev ## set up and run every test
	$(MAKE) --no-print-directory check
	@.ci/packages
	$(BIN)/pytest -n $(WAITING) --dist loadfile -rs tests/properties tests/crash tests/acceptance tests/browser tests/aws

test-aws: .venv/.dev ## the functions' packages end to end against moto, all of it (REMOTE=1: on your AWS account)
	WHOLE=1 $(BIN)/pytest --timeout 1800 -rs -s tests/aws
	$(BIN)/pytest tests/conformance/test_table.py tests/conformance/test_bucket.py -k "Dynamo or S3"

bench: .venv/.bench ## measure everything beside what it is compared with, and write docs/benchmarks.md (QUICK=1: briefly)
	$(BIN)/python bench/run.py $(if $(QUICK),--quick)

format: .venv/.dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: .venv/.dev ## build the wheel into dist/
	$(UV) build --wheel --quiet

clean: ## remove everything that the targets made, but no data
	rm -rf .venv .uv .bench dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src -name '*.so' -delete

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.run: $(UV) uv.lock $(BUILD)
	$(UV) sync --frozen --no-dev --inexact --quiet
	$(tell)
	@touch $@

.venv/.dev: $(UV) uv.lock $(BUILD)
	$(UV) sync --frozen --quiet
	$(tell)
	@touch $@ .venv/.run

.venv/.bench: $(UV) uv.lock $(BUILD)
	$(UV) sync --frozen --group bench --quiet
	$(tell)
	@touch $@ .venv/.dev .venv/.run
