# make app   sets everything up and opens the app;   make test   sets everything up and checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
# The machine may have more cores than this; more workers than cores only make browser tests time out.
WORKERS ?= 2

.PHONY: app test lint types tests browser setup setup-dev clean

app: setup
	$(BIN)/streamlit run app.py --server.port $(PORT)

test: setup-dev browser lint types tests

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/mypy

tests: setup-dev
	$(BIN)/python -m pytest -n $(WORKERS)

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

# venv needs Debian's python3-venv; its own message says so where it is missing.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.ready: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.ready-dev: requirements-dev.txt $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The browser tests skip with a reason where there is no Chromium; here it is installed if that is possible without asking.
browser:
	@if command -v chromium >/dev/null 2>&1; then exit 0; fi; \
	if ! command -v apt-get >/dev/null 2>&1; then echo "no Chromium and no apt-get: the browser tests will be skipped"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then run=""; elif sudo -n true 2>/dev/null; then run="sudo"; \
	else echo "no Chromium and no right to install it: the browser tests will be skipped"; exit 0; fi; \
	$$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-cjk >/dev/null \
	|| echo "Chromium could not be installed: the browser tests will be skipped"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
