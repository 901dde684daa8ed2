# Two commands do everything from a fresh clone with Python 3.11+:
#   make demo   set-up, then two rounds of the loop on real label errors; ENGINE=ray for Ray
#   make test   set-up, then formatting, lint, types and every test of the product
#               shared by PROCESSES processes (tests/support/sharing.py), which on two cores
#               keep both busy while some wait, of one thread each: threads that wait for each
#               other's core took a test from 31 to 71 s
# Beside them, make test-bench runs the tests of the benchmarks (bench/).
PYTHON ?= python3
BIN := .venv/bin
ENGINE ?= auto
PROCESSES ?= 3

.PHONY: demo test test-bench check setup tools protos
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster,dev]'
	touch $@

demo: setup
	$(BIN)/python -m jobs.loop --demo --engine $(ENGINE) --out build/demo$(if $(filter ray,$(ENGINE)),-ray)

# Formatting, lint and types, as .pre-commit-config.yaml lists them; needs no network.
check: setup
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

# What tests need beside the environment: PgBouncer, a gateway, a browser for the page, a network to
# cut, Node for its client, and Label Studio, whose pins are its own.
APT := apt-get install -y --no-install-recommends
tools: setup
	which pgbouncer nginx chromium ip || \
		(apt-get update && $(APT) pgbouncer nginx-light chromium iproute2)
	which node npm || (apt-get update && $(APT) nodejs npm)
	$(BIN)/python -m tests.support.debian # PgBouncer of Debian 13 beside this machine's
	$(BIN)/python -m tests.support.label_studio

test: export OMP_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
# Set by many images: each of the run's processes would compile what it imports, and pytest rewrite
# all assertions twice, 3 CPU seconds a process.
test: export PYTHONDONTWRITEBYTECODE :=
test: check tools
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-bench: setup
	$(BIN)/pytest tests/benchmarks

protos: setup
	$(BIN)/python proto/generate.py
