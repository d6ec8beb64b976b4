#!/bin/sh
# Changes the core at every place that cargo-mutants knows how to change and runs scripts, unit
# tests and some seeds of the lab against each. In a copy, so that nothing of it can stay behind.
#   cargo-mutants.sh [file below core/src/raft]...
set -eu
cd "$(dirname "$0")/../.."
if ! cargo mutants --version >/dev/null 2>&1; then
    echo 'cargo-mutants is not installed: cargo install --locked cargo-mutants' >&2
    exit 1
fi
for file in "$@"; do
    set -- "$@" --file "core/src/raft/$file"
    shift
done
KVORUM_LAB_SEEDS=${KVORUM_LAB_SEEDS:-40} exec cargo mutants --jobs 1 --package kvorum-core \
    --output target/mutants/cargo-mutants "$@"
