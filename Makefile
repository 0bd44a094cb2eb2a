# The two commands: `make serve` and `make test`. Everything they need they set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST_SOURCES := Cargo.toml Cargo.lock .cargo/config.toml otp_core_rs/Cargo.toml $(shell find otp_core_rs/src -name '*.rs')
SETTINGS := VIRTUAL_ENV=$(CURDIR)/$(VENV) PATH=$(CURDIR)/$(BIN):$$PATH PIP_DISABLE_PIP_VERSION_CHECK=1

FUZZ_TARGETS := $(patsubst otp_core_rs/fuzz/fuzz_targets/%.rs,%,$(wildcard otp_core_rs/fuzz/fuzz_targets/*.rs))

.PHONY: help serve demo test test-rust test-python lint build fuzz fuzz-http clean bench bench-quick bench-gate bench-baseline
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.dependencies: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "otp-server needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	@command -v cargo >/dev/null || { echo "otp-server needs a Rust toolchain (cargo) to build its core"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(SETTINGS) $(BIN)/python -m pip install -q -c constraints.txt maturin
	$(SETTINGS) $(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/requirements.txt
	$(SETTINGS) $(BIN)/python -m pip install -q -c constraints.txt -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.built: $(VENV)/.dependencies $(RUST_SOURCES)
	$(SETTINGS) PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/maturin develop -q --release --locked
	@touch $@

build: $(VENV)/.built ## Set up .venv and build the Rust core

serve: build ## Run the server with the development profile (ports 8700-8702)
	@exec $(BIN)/otp-server serve

demo: build ## Beside a running server: one device, one app, step by step
	@$(BIN)/python -m otp_server.simulator.demo

test: test-rust test-python ## Run every test

test-rust: build
	cargo test --locked --no-default-features --release > target/tests.log 2>&1 || { cat target/tests.log; exit 1; }
	@awk '/^test result:/ {n += $$4} END {print "passed by kind: rust " n}' target/tests.log

test-python: build
	-@$(BIN)/python -m tests.support.chromium > /dev/null # without it the tests of the page say why
	OTP_TEST_ARTEFACTS=$${OTP_TEST_ARTEFACTS-$(CURDIR)/target/artefacts} $(BIN)/python -m pytest

lint: build ## Format, types, layers, stub, clippy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m mypy.stubtest otp_server.core._native otp_server.core._limits
	$(BIN)/python proto/generate.py --check
	cargo fmt --check
	cargo clippy -q --locked --release --all-targets --no-default-features -- -D warnings
	cargo clippy -q --locked --release --all-targets -- -D warnings

fuzz: ## A minute of each fuzz target (needs a nightly Rust toolchain)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p target/corpus/$$target; \
		cargo +nightly fuzz run --fuzz-dir otp_core_rs/fuzz $$target target/corpus/$$target otp_core_rs/fuzz/seeds/$$target -- -max_total_time=60 || exit 1; \
	done

fuzz-http: build ## The HTTP API by requests of its document, with a new seed (SEED=N EXAMPLES=M)
	$(BIN)/python -m tests.e2e.openapi.fuzzing $(if $(SEED),--seed $(SEED)) $(if $(EXAMPLES),--examples $(EXAMPLES))

$(VENV)/.bench: $(VENV)/.built bench/requirements.txt
	$(SETTINGS) $(BIN)/python -m pip install -q -c constraints.txt -r bench/requirements.txt
	@touch $@

bench: $(VENV)/.bench ## Measure everything beside the peers (BENCH="--scenario rr ..."); see bench/README.md
	$(BIN)/python -m bench.run full $(BENCH)

bench-quick: $(VENV)/.bench ## The same in small, in under three minutes
	$(BIN)/python -m bench.run quick $(BENCH)

bench-gate: $(VENV)/.bench ## Instruction counts and in-run ratios against the budgets
	$(BIN)/python -m bench.run gate $(BENCH)

bench-baseline: $(VENV)/.bench ## Write bench/instructions.toml for this compiler
	$(BIN)/python -m bench.run baseline

clean: ## Remove what was built; data stays
	rm -rf $(VENV) target dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
