#!/bin/sh
# The same as `make run`, from any directory. The environment variables of docs/configuration.md
# pass through; the process becomes the node itself, so its signals and exit code are the node's.
set -eu
here=$(dirname "$(readlink -f "$0")")
# A relative data directory is meant from where the caller stands.
case ${RAFT_DIR-} in
'' | /*) ;;
*) export RAFT_DIR="$PWD/$RAFT_DIR" ;;
esac
make --no-print-directory -C "$here" build
eval "$(make --no-print-directory -s -C "$here" run-command)"
