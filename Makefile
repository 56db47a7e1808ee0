# `make demo` and `make test` need nothing but Python 3.11 and make: each creates the environment it runs in.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Peers are installed in environments of their own, under PEERS_HOME if it is given.
PEER = $(if $(PEERS_HOME),$(PEERS_HOME)/$(1),.venv-$(1))/bin/python
LOWEST := $(if $(PEERS_HOME),$(PEERS_HOME)/lowest,.venv-lowest)
EXTRAS_HOME := $(if $(PEERS_HOME),$(PEERS_HOME)/extras,build/extras)

.PHONY: install browser peers environments demo test test-half test-other-half test-slow test-flower test-pfl test-nvflare \
	test-tenseal test-lowest dist test-dist test-release check-extras dependencies sbom lint bench fuzz clean
.PHONY: docs mutation
.PHONY: coverage coverage-half coverage-other-half

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "secagg needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "making $(VENV): downloading and installing takes a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,torch,report,verify,seal-fast]'
	touch $@

# What the tests of the privacy report look at it with; without one they are skipped, and say so.
browser:
	command -v chromium || command -v google-chrome-stable || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } > /dev/null || \
		echo "NOT CHECKED: no browser here and none could be installed (as root: apt-get install chromium)"

demo: install
	$(BIN)/secagg demo
	$(BIN)/secagg demo --protocol oneshot
	$(BIN)/secagg demo --protocol ckks

# Two halves at once, of about equal length: most machines have two cores, and one test uses one.
HALF := tests/attacks tests/mutants tests/protocols tests/secagg

test: install
	$(MAKE) --no-print-directory --jobs=2 test-half test-other-half

test-half:
	$(BIN)/python -m pytest -q -m "not slow" $(HALF)

test-other-half:
	$(BIN)/python -m pytest -q -m "not slow" tests $(addprefix --ignore=,$(HALF))

test-slow: install
	$(BIN)/python -m pytest -q -m slow

# Hours, at night; a run that was cut goes on where it was. TARGETS="prg masks" for some, SAMPLE=10 for ten mutants a file.
mutation: install
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m tests.mutation $(if $(SAMPLE),--sample $(SAMPLE)) $(TARGETS)

# Every branch of what pyproject.toml lists under [tool.coverage.report], by the tests of `make test`; it names what is not.
coverage: install
	$(BIN)/coverage erase
	$(MAKE) --no-print-directory --jobs=2 coverage-half coverage-other-half
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

coverage-half:
	$(BIN)/coverage run -m pytest -q -m "not slow" $(HALF)

coverage-other-half:
	$(BIN)/coverage run -m pytest -q -m "not slow" tests $(addprefix --ignore=,$(HALF))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Whatever figures are told beside; `benchmarks/peers/environments.py` has their interpreters and pins.
peers: $(addprefix environment-,flower dp tenseal nvflare pfl jax_privacy openfhe)

# All that cannot share one; with --jobs=2 two are made at a time.
environments: peers environment-least-tenseal

environment-%: install
	$(BIN)/python -m benchmarks.peers.environments $*

# It wants Python 3.10, which a machine need not have: then its rows are skipped, and say so.
environment-openfhe: install
	-$(BIN)/python -m benchmarks.peers.environments openfhe

test-flower: environment-flower
	@test -d tests/frameworks || echo "no tests/frameworks in this checkout: nothing to test beside Flower"
	test ! -d tests/frameworks || $(call PEER,flower) -m pytest -q tests/frameworks tests/protocols/adapters tests/docs/test_blocks.py -k flower

test-pfl: environment-pfl
	$(call PEER,pfl) -m pytest -q tests/frameworks/test_pfl.py tests/docs/test_blocks.py -k pfl

test-nvflare: environment-nvflare
	$(call PEER,nvflare) -m pytest -q tests/frameworks/test_nvflare.py tests/docs/test_blocks.py -k nvflare

# The oldest tenseal that is taken, which nvflare[he] pins; `make test` has the newest.
test-tenseal: environment-least-tenseal
	$(call PEER,least-tenseal) -m pytest -q tests/secagg/ckks/test_seal.py tests/attacks/test_key_recovery_seal.py

# The lowest versions of the ranges in pyproject.toml; `make test` has the newest. The lowest matplotlib calls what
# pyparsing 3.3 deprecates, and a warning is an error in tests.
$(LOWEST)/.installed: pyproject.toml tools/release/declared.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check $$($(PYTHON) -m tools.release.declared) pytest hypothesis 'pyparsing<3.3'
	touch $@

test-lowest: $(LOWEST)/.installed
	PYTHONPATH=. $(LOWEST)/bin/python -m pytest -q -m "not slow" tests/secagg tests/dp tests/protocols/test_simulate.py tests/test_cli.py

# Wheel and sdist of the last commit, built twice and compared byte for byte.
dist: install
	rm -rf dist
	$(BIN)/python -m tools.release.dist dist

# From the wheel alone: all commands, and two rounds of the demo; `test-release` plays the whole demo of each protocol.
test-dist: install
	$(BIN)/python -m tools.release.bare dist/*.whl 2 pairwise

test-release: dist
	$(BIN)/python -m tools.release.bare dist/*.whl 30 pairwise oneshot ckks

# One environment for each extra, gigabytes together; EXTRAS="report flower" makes some.
check-extras: dist
	$(BIN)/python -m tools.release.extras dist/*.whl $(EXTRAS_HOME) $(EXTRAS)

dependencies: check-extras
	$(BIN)/python -m tools.release.dependencies $(EXTRAS_HOME) docs/reference/dependencies.md

sbom: dist
	$(BIN)/python -m tools.release.sbom dist/*.whl build

# Into build/site, which reads from disk as it is; a warning, a link or an anchor that leads nowhere ends it.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m tools.site_pages.checking build/site

bench: install peers
	$(BIN)/secagg bench --peers

# Coverage-guided, beyond what `make test` runs; finds and crashes are kept in build/fuzz. Minutes; more runs for a night.
FUZZ_RUNS ?= 50000

fuzz: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	mkdir -p build/fuzz/found
	$(BIN)/python -m tests.fuzz.guided -runs=$(FUZZ_RUNS) -max_len=4096 -artifact_prefix=build/fuzz/ build/fuzz/found

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info
