# Sets up .venv on the first call and asks nothing. A second call costs nothing until the lock or pyproject.toml changes.
VENV := .venv
READY := $(VENV)/.ready
QUICK := not slow and not store and not ray and not browser and not notebooks and not corpus
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick coverage check docs bench lab setup clean

help:
	@echo "make demo    make a sample of product pictures, run the main job on it, show where the results are"
	@echo "make test    run the tests; make test-quick those of the ground floors, in seconds"
	@echo "make coverage say which lines of the ground floors no test runs"
	@echo "make check   hold the code to its rules: ruff, imports, density, types"
	@echo "make docs    build docs/_build, the pages with the notebooks' outputs"
	@echo "make bench   run the benchmarks with small rounds, and put their figures into docs/benchmarks.md"
	@echo "make lab     open JupyterLab on notebooks/"
	@echo "make setup   only set up $(VENV) (the others do it themselves)"
	@echo "make clean   remove $(VENV) and caches; data/ and reports/ stay"

demo: $(READY)
	@$(VENV)/bin/imgprep demo

test: $(READY)
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile

# The ground floors: one picture, tiles, tables, the dataset folder. No server, no Ray, no browser.
test-quick: $(READY)
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile -q -m "$(QUICK)" tests/picture tests/tiles tests/rows tests/dataset

# Of the same tests: what they never run. All tests would say more, in ten times the time.
coverage: $(READY)
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile -q -m "$(QUICK)" \
		--cov=imgprep/picture --cov=imgprep/tiles --cov=imgprep/rows --cov=imgprep/dataset \
		--cov-report=term-missing:skip-covered tests/picture tests/tiles tests/rows tests/dataset

check: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/python .ci/house.py
	@$(VENV)/bin/mypy

# The tutorials are the notebooks, run as they stand; a second time there is nothing to compute.
docs: $(READY)
	@mkdir -p docs/tutorials
	@for notebook in notebooks/*.ipynb; do \
		$(VENV)/bin/papermill --log-level ERROR --no-progress-bar $$notebook docs/tutorials/$${notebook##*/} || exit 1; \
	done
	@$(VENV)/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Minutes; wants nginx and a quiet machine, and says how busy it was.
bench: $(READY)
	@$(VENV)/bin/python tests/benchmarks/bench.py --page

lab: $(READY)
	@$(VENV)/bin/imgprep lab

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@for python in python3.13 python3.12 python3.11 python3 python; do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Setting up $(VENV) with $$($$python --version); this takes a few minutes, once."; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "imgprep needs Python 3.11 or newer with its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(READY)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
