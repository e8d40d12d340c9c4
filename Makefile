# Two commands: `make course` runs the course, `make test` checks it. Both set up .venv first if need be.
PYTHON ?= python3
PROFILE ?= cpu
# Two notebooks side by side: networks this small gain nothing from a second core. A GPU is not shared.
JOBS ?= $(if $(filter gpu,$(PROFILE)),1,2)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
STAMP := .venv/.stamp
SITE := .venv/.site
# More for JupyterLab, e.g. make lab LAB_FLAGS=--allow-root
LAB_FLAGS ?=
BROWSER := .venv/.browser
NBGRADER := .venv/nbgrader
COLAB := .venv-colab

.DEFAULT_GOAL := help
.PHONY: help setup course test test-all test-slow nbval lint lab notebooks maps site test-colab test-browser clean

help: ## list these targets
	@echo "make TARGET [PROFILE=smoke|cpu|gpu] [JOBS=N] [PYTHON=python3]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s%s\n", $$1, $$2}'

setup: $(STAMP) ## install the course into .venv (a few minutes the first time)

# Made afresh whenever the dependencies change; a set-up that was interrupted leaves no stamp and is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) found. Install Python 3.11 or newer, or: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); the course needs Python 3.11 or newer: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version): a few minutes the first time, about 7 GB"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lab,agent,cluster,deploy,dev]"
	@touch $@

course: $(STAMP) ## run all notebooks; results in output/course/index.html
	@echo "Running the course in the $(PROFILE) profile"
	@$(BIN)/kdcourse run --profile $(PROFILE) --jobs $(JOBS) --output output/course

# What a contributor runs after each edit. Tests marked `slow` are left to test-all.
test: lint ## style, import contract, unit tests, the command line, notebooks 00 and 04 in the smoke profile
	@echo "Unit tests, and notebooks 00 and 04 in the smoke profile"
	@$(PYTEST) -n $(JOBS) --dist worksteal -m "not slow" tests

test-all: test test-slow nbval test-browser ## everything: also all notebooks, real data, Ray, the sandbox, nbval, browser and site

test-slow: $(STAMP) $(NBGRADER)/.stamp
	@echo "Slow tests: every notebook in the smoke profile, real data, Ray, the grading sandbox, mutated files"
	@$(PYTEST) -n $(JOBS) --dist worksteal -m slow --ignore tests/browser --ignore tests/colab tests

nbval: $(STAMP) ## the committed outputs of the notebooks against a fresh run in the cpu profile
	@echo "Committed notebook outputs against a fresh run in the cpu profile, two notebooks at a time"
	@KDCOURSE_DATA= KDCOURSE_PROFILE=cpu TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile \
	    --nbval --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

# In a folder of its own, out of JupyterLab's sight, to which nbgrader adds menus and a gradebook. Tests alone use it.
$(NBGRADER)/.stamp: $(STAMP)
	@echo "Setting up nbgrader, for its test"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt --target $(NBGRADER) nbgrader
	@touch $@

lint: $(STAMP) ## style of code and notebooks, and which part may import which
	@echo "Style and import contract"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

lab: $(STAMP) ## open the course in JupyterLab
	@echo "Opening notebook 00 in JupyterLab. Does no browser open? Use the address below. Ctrl-C stops it"
	@$(BIN)/jupyter lab --notebook-dir=. --log-level=WARN --LabApp.app_settings_dir=tools/jupyterlab \
	    --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_FLAGS)

notebooks: $(STAMP) ## execute the notebooks in place, before committing them
	@echo "Executing notebooks/ in place in the cpu profile"
	@KDCOURSE_DATA= KDCOURSE_WORK= KDCOURSE_PROFILE=cpu $(BIN)/python tools/execute_notebooks.py notebooks/*.ipynb

maps: $(STAMP) ## write the course map anew into the committed notebooks
	@$(BIN)/python tools/refresh_maps.py

site: $(SITE) ## build the course as a site: output/site/index.html
	@echo "Building output/site"
	@$(BIN)/python tools/make_site.py output/site output/site-pages

# What only the site needs, so that nobody waits for it who runs the course.
$(SITE): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[site]"
	@touch $@

test-colab: $(STAMP) $(COLAB)/.stamp ## every notebook in the smoke profile as on Colab, with its old ipywidgets
	@KDCOURSE_COLAB=$(COLAB)/bin/python $(BIN)/python -m pytest tests/colab

$(COLAB)/.stamp: tests/colab/requirements.txt
	@echo "Setting up $(COLAB), a stand-in for Colab: a few minutes, about 6 GB"
	@$(PYTHON) -m venv $(COLAB)
	@$(COLAB)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-browser: $(BROWSER) site ## the site, and every notebook in JupyterLab, in a real browser; pictures in output/browser
	@KDCOURSE_BROWSER=1 $(PYTEST) tests/browser

$(BROWSER): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	@touch $@

clean: ## remove .venv, output/ and caches; data/ stays
	@echo "Removing .venv, output, caches"
	@rm -rf .venv $(COLAB) output .pytest_cache .ruff_cache *.egg-info
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
