# Each verb sets up by itself what it needs, once; `packaging/setup.sh` says how.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check bench performance fuzz soak fleet matrix golden docs pictures dashboards stage release packages vulnerabilities lock clean venv kernel

pytest := .venv/bin/pytest

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: kernel ## a small cell, faults injected and found; options in DEMO_ARGS
	PYTHONPATH=tests .venv/bin/python -m demo $(DEMO_ARGS)

test: kernel ## every test but benchmarks, soaks and fresh Debian systems, three at a time; options for pytest in TEST_ARGS
	@packaging/setup.sh browser
	$(pytest) tests -m "not bench and not soak and not packages" -n 3 --dist loadgroup $(TEST_ARGS)

check: venv ## style, types, and the project's own rules (layers, purity, sizes)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(pytest) tests/repo

bench: kernel ## time and memory, as ratios against iptables itself
	$(pytest) tests/bench -rsP

performance: kernel ## the benchmarks, how cost grows, and the daemon on a large cell, into docs/performance.md; some fifteen minutes
	.venv/bin/python packaging/performance.py

fuzz: kernel ## each parser fuzzed in turn, FUZZ_SECONDS=600 in all; what it finds stays in tests/fuzz/corpus
	@packaging/setup.sh fuzz
	.venv/bin/python packaging/fuzz.py

soak: kernel ## a cell at work for SOAK_SECONDS=3600, the whole table of faults, ROUNDS=10 of 100 tables a backend, CLIENTS=10000
	SEED=$(SEED) SOAK_SECONDS=$(SOAK_SECONDS) .venv/bin/python packaging/soak_cell.py
	$(pytest) tests/faults -m soak
	SEED=$(SEED) ROUNDS=$(ROUNDS) CLIENTS=$(CLIENTS) .venv/bin/python packaging/soak.py

fleet: kernel ## CELLS=1000 cells before one Prometheus, one pager and one policy server, some 15 minutes
	.venv/bin/python packaging/fleet_bench.py --cells $(or $(CELLS),1000) $(FLEET_ARGS)

matrix: kernel ## every iptables and Python that can be had here, into docs/compatibility.md; one of its parts in MATRIX_ARGS
	.venv/bin/python packaging/matrix.py $(MATRIX_ARGS)

golden: kernel ## rewrites the expected results; read the diff before it is committed
	$(pytest) tests/unit tests/kernel -k "golden or readme" --update-golden
	$(pytest) tests/kernel/test_every_kind.py tests/e2e/test_demo.py -k "raised_and_resolved or every_fault" --update-golden

docs: venv ## rewrites the pages that are generated from code
	.venv/bin/python packaging/generate_docs.py
	.venv/bin/python packaging/generate_commands.py
	.venv/bin/python packaging/reliability.py

dashboards: venv ## rewrites Grafana's dashboards from packaging/dashboards
	.venv/bin/python packaging/generate_dashboards.py

pictures: kernel ## the pictures of the documents: the page in a real browser, the dashboards from a real Prometheus over cells with faults
	@packaging/setup.sh browser
	PYTHONPATH=tests .venv/bin/python packaging/page_pictures.py
	.venv/bin/python packaging/pictures.py

stage: venv ## what the BOSH package is made of, into bosh-release/src
	.venv/bin/python packaging/stage_release.py

release: venv ## everything that is handed out into dist/, with checksums; twice and compared with RELEASE_ARGS=--check
	@packaging/setup.sh release
	.venv/bin/python packaging/make_release.py $(RELEASE_ARGS)

packages: kernel ## what make release makes, installed and run in fresh Debian systems; a systemd of their own starts the daemon
	@packaging/setup.sh packages
	$(pytest) tests/release -m packages

vulnerabilities: venv ## which are known in what ships; says so when it cannot look; options for pip-audit in AUDIT_ARGS
	.venv/bin/python packaging/vulnerabilities.py $(AUDIT_ARGS)

lock: ## rewrites the lock files; newest versions with LOCK_ARGS=--upgrade
	packaging/setup.sh lock $(LOCK_ARGS)

clean: ## removes all that make and the tools made
	rm -rf .venv .tools build dist bosh-release/src/c2c_auditor bosh-release/dev_releases bosh-release/.dev_builds agent/*.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find agent tests -name __pycache__ -prune -exec rm -rf {} +

venv kernel:
	@packaging/setup.sh $@
