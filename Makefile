# Configuration of `make run`. Each of these can also be given in the environment or on the command
# line (`make run PORT=8081`); KVORUM_* variables pass through. An empty
# RAFT_JOIN_ADDR or RAFT_DIR means "not set".
# All variables: docs/configuration.md
NODE_ID        ?= app1
PORT           ?= 8080
RAFT_BIND_ADDR ?= 127.0.0.1:7000
RAFT_JOIN_ADDR ?=
RAFT_DIR       ?=

# ------------------------------------------------------------------------------------------------

CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARY     := $(TARGET_DIR)/release/kvorum
# As the alias `cargo sim` in .cargo/config.toml.
SIM        := --config 'build.rustflags=["--cfg","madsim","--cfg","rustix_use_libc"]' --config 'env.KVORUM_SIM="1"'
COMPOSE    := $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)

# Flags from outside would silently replace the simulator's own.
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
# A test or a build inherits nothing of a node's configuration.
unexport NODE_ID PORT RAFT_BIND_ADDR RAFT_JOIN_ADDR RAFT_DIR

quote    = '$(subst ','\'',$(1))'
optional = $(if $($(1)),$(1)=$(call quote,$($(1))))
NODE_ENV = env NODE_ID=$(call quote,$(NODE_ID)) PORT=$(call quote,$(PORT)) \
	RAFT_BIND_ADDR=$(call quote,$(RAFT_BIND_ADDR)) $(call optional,RAFT_JOIN_ADDR) $(call optional,RAFT_DIR)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run run-command test fmt lint docs unit golden laws lab sim process fuzz-http docs-http contract docker-test docker docker-down model bench bench-core bench-watch mutants cargo-mutants clean

help:
	@echo 'make build    build the release binary and leave it at ./main'
	@echo 'make run      build and run a single node: HTTP on port $(PORT), Raft on $(RAFT_BIND_ADDR)'
	@echo 'make test     run every check and test'
	@echo 'make docker   build the image and start four nodes app1 ... app4 on ports 8081 ... 8084'
	@echo 'make bench    measure a three-node durable cluster on this machine'
	@echo 'make bench-watch measure what watchers cost a node: none, 1,000 and 10,000'
	@echo 'make bench-core  measure the core alone: commits per second without any I/O'
	@echo 'make mutants  plant every known bug into a copy of the core and see which check finds it'

build:
	@$(CARGO) build --release --locked -p kvorum
	@cp $(BINARY) main.new && mv -f main.new main

run: build
	@exec $(NODE_ENV) ./main

# What main.sh runs after `make build`.
run-command:
	@printf '%s %s %s\n' exec $(call quote,$(NODE_ENV)) $(call quote,$(call quote,$(CURDIR)/main))

test: fmt lint docs unit sim process fuzz-http contract docker-test
	@echo '== all tests passed'

fmt:
	@echo '== formatting'
	@$(CARGO) fmt --all --check

lint:
	@echo '== clippy, both configurations'
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(CARGO) clippy --locked $(SIM) -p kvorum -p kvorum-runtime -p kvorum-core -- -D warnings
	@$(CARGO) clippy --locked $(SIM) -p kvorum-sim --all-targets -- -D warnings

docs:
	@echo '== documentation'
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --quiet

unit:
	@echo '== unit, property and golden tests'
	@$(CARGO) test --locked --workspace --exclude kvorum

# Writes the outputs of the golden scripts anew; the difference is to be read.
golden:
	@UPDATE_GOLDEN=1 $(CARGO) test --locked -p kvorum-core --test golden every_scenario

# The long runs of what `make unit` runs for a while: a million schedules, 20,000 seeds. With the
# core's own assertions, and at full speed.
LONG := --release --config profile.release.debug-assertions=true
KVORUM_LAWS_TIMES ?= 10
KVORUM_LAB_SEEDS  ?= 0..20000

laws:
	@KVORUM_LAWS_TIMES=$(KVORUM_LAWS_TIMES) $(CARGO) test --locked $(LONG) -p kvorum-core --test laws -- --nocapture

lab:
	@KVORUM_LAB_SEEDS=$(KVORUM_LAB_SEEDS) $(CARGO) test --locked $(LONG) -p kvorum-core --test lab chaos -- --nocapture

sim:
	@echo '== simulation'
	@$(CARGO) sim --locked

process:
	@echo '== real processes'
	@$(CARGO) test --locked -p kvorum

# A schema-driven fuzzer reads /openapi.json of real nodes. About two minutes.
fuzz-http:
	@echo '== fuzzing the HTTP API'
	@bin/tests/fuzz.sh

# Writes the outputs in docs/http.md anew; the difference is to be read.
docs-http:
	@UPDATE_DOCS=1 $(CARGO) test --locked -p kvorum --test process page::every_command

contract:
	@echo '== the contract, literally'
	@bin/tests/contract.sh

docker-test:
	@echo '== docker'
	@bin/tests/docker.sh

docker:
	$(COMPOSE) up -d --build
	@echo 'app1 ... app4 answer on http://localhost:8081 ... 8084; $(COMPOSE) down ends them'

docker-down:
	$(COMPOSE) down

# Larger bounds, and the numbers in docs/model-checking.md anew. Takes a quarter of an hour and 4 GB.
model:
	@echo '== model checking, large bounds'
	@KVORUM_MODEL=large KVORUM_MODEL_TABLE=$(CURDIR)/docs/model-checking.md \
		$(CARGO) test --locked -p kvorum-core --test model -- --nocapture every_state

bench:
	@$(CARGO) bench --locked -p kvorum --bench cluster

bench-watch:
	@$(CARGO) bench --locked -p kvorum --bench watch

bench-core:
	@$(CARGO) bench --locked -p kvorum-core --bench commits

# Half an hour; the gate that runs with `make unit` plants a handful.
mutants:
	@$(CARGO) run --locked --quiet -p kvorum-mutants --

# An hour, into docs/mutants-survivors.md; fails when a survivor is not explained. Goes on where it
# was interrupted. Needs the cargo-mutants command for its list of changes.
cargo-mutants:
	@$(CARGO) run --locked --quiet -p kvorum-mutants --bin kvorum-changes --

clean:
	@$(CARGO) clean
	@rm -f main main.new
