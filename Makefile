# Two commands for everybody: `make demo` and `make test`. They need Python 3.11 or newer and make.
# All that they install goes into .venv; a second run installs nothing.

PYTHON ?= python3.11 python3.12 python3.13 python3
BIN = .venv/bin
ROOT = $(CURDIR)
PIP = $(BIN)/python -m pip --disable-pip-version-check
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
SOURCES = $(shell find graphc backends viz -type f ! -name '*.pyc' 2>/dev/null | LC_ALL=C sort)

.PHONY: help demo gallery test lint soak format clean distclean FORCE
.DELETE_ON_ERROR:

help:
	@echo "make demo       train a LeNet-5 on the shipped digits and write demo/index.html (about 3 minutes)"
	@echo "make test       style, types, layers, then every test but the slow ones (under 15 minutes)"
	@echo "make lint       style, types and layers alone"
	@echo "make soak       the slow tests"
	@echo "make gallery    draw the pictures of docs/gallery.md again"
	@echo "make format     let ruff rewrite what it can"
	@echo "make clean      remove what was built; make distclean removes .venv as well"

demo: .venv/.plain
	$(BIN)/graphc demo

test: lint
	$(PYTEST)

soak: .venv/.dev
	$(PYTEST) -m slow

# Types and layers are checked on the package as a user gets it, a wheel unpacked into build/site:
# neither mypy nor import-linter follows the map from graphc.backends to backends/ in the tree.
lint: .venv/.dev build/.site
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	cd build/site && $(ROOT)/$(BIN)/mypy --config-file $(ROOT)/pyproject.toml --cache-dir $(ROOT)/.mypy_cache -p graphc
	cd build/site && PYTHONPATH=. $(ROOT)/$(BIN)/lint-imports $(ROOT)/pyproject.toml --no-logo --cache-dir $(ROOT)/.import_linter_cache

gallery: .venv/.dev
	$(BIN)/python docs/gallery.py

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/.made:
	@for python in $(PYTHON); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; \
	done; \
	[ -n "$$found" ] || { echo "graphc needs Python 3.11 or newer; none of these is: $(PYTHON). Name one: make demo PYTHON=/path/to/python"; exit 1; }; \
	"$$found" -m venv .venv || { echo "$$found has no working venv module (Debian keeps it in python3-venv). Name another Python: make demo PYTHON=/path/to/python"; exit 1; }
	@touch $@

# Editable, so that what a reader changes in the tree is what runs.
.venv/.plain: .venv/.made pyproject.toml
	@echo "installing graphc into .venv"
	@$(PIP) install -qq --editable .
	@touch $@

.venv/.dev: .venv/.made pyproject.toml
	@echo "installing graphc and what its tests need into .venv"
	@$(PIP) install -qq --editable '.[dev]'
	@touch .venv/.plain $@

# The list of files is a file itself: a deletion must rebuild too.
build/.files: FORCE
	@mkdir -p build
	@echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' > $@

build/.site: .venv/.dev build/.files $(SOURCES) README.md LICENSE
	@rm -rf build/lib build/bdist.* build/wheel build/site
	@$(PIP) wheel -qq --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(PIP) install -qq --no-deps --no-compile --target build/site build/wheel/*.whl
	@touch $@

clean:
	rm -rf build demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
