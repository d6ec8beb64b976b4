#!/bin/bash
# A schema-driven fuzzer (schemathesis) against a real node: it reads /openapi.json and looks for
# answers that the document does not know. Once with memory, once with a data directory. Bounded, and
# repeatable: KVORUM_FUZZ_SEED and KVORUM_FUZZ_EXAMPLES (per call) change what is tried.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=4.32.5
SEED=${KVORUM_FUZZ_SEED:-1}
EXAMPLES=${KVORUM_FUZZ_EXAMPLES:-15}
HERE=$PWD
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
VENV=$TARGET/schemathesis-$VERSION

say() { printf '   fuzz: %s\n' "$*"; }
WORK=$(mktemp -d)
PID=''
end_node() {
    [ -n "$PID" ] || return 0
    kill -9 "$PID" 2>/dev/null || true
    wait "$PID" 2>/dev/null || true
    PID=''
}
cleanup() { end_node; rm -rf "$WORK"; }
trap cleanup EXIT
trap 'exit 130' INT TERM
fail() { printf '\n   fuzz: FAILED: %s\n' "$*" >&2; exit 1; }

if ! [ -x "$VENV/bin/st" ]; then
    command -v python3 >/dev/null || fail 'python3 is missing (Debian: apt-get install python3-venv)'
    say "installing schemathesis $VERSION below $TARGET"
    rm -rf "$VENV"
    python3 -m venv "$VENV" >"$WORK/pip.log" 2>&1 &&
        "$VENV/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$VERSION" >>"$WORK/pip.log" 2>&1 ||
        { cat "$WORK/pip.log" >&2; rm -rf "$VENV"; fail 'schemathesis cannot be installed (Debian: apt-get install python3-venv; PyPI must be reachable)'; }
fi

unset NODE_ID PORT RAFT_BIND_ADDR RAFT_JOIN_ADDR RAFT_DIR "${!KVORUM_@}"
unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
cargo build --locked --quiet -p kvorum

# Two free ports, of an address of this run's own: nobody else takes them between this and the bind.
IP=127.$((64 + RANDOM % 64)).$((RANDOM % 256)).$((1 + RANDOM % 254))
free_port() {
    python3 -c "import socket; s = socket.socket(); s.bind(('$IP', 0)); print(s.getsockname()[1])"
}

fuzz() { # NAME VARIABLES...
    local name=$1 http raft code=0
    shift
    http=$(free_port) raft=$(free_port)
    env NODE_ID=fuzz "PORT=$http" "KVORUM_HTTP_BIND=$IP" "RAFT_BIND_ADDR=$IP:$raft" \
        KVORUM_BOOTSTRAP_GRACE=0s KVORUM_LOG=warn KVORUM_WATCH_PROGRESS=100ms \
        KVORUM_REQUEST_TIMEOUT=500ms KVORUM_MAX_REQUEST_TIMEOUT=1s "$@" \
        "$TARGET/debug/kvorum" >"$WORK/$name.log" 2>&1 &
    PID=$!
    for _ in $(seq 300); do
        curl -fs -o /dev/null -m 2 "http://$IP:$http/readyz" && break
        kill -0 "$PID" 2>/dev/null || { cat "$WORK/$name.log" >&2; fail "the node ($name) ended"; }
        sleep 0.1
    done
    # What the examples of the document name, so that not everything is missing.
    for seed in 'key/a -d 1' 'key/%80 -d 1' 'key/?b64=Li4veA -d dots' 'key/a/b?ttl=60m -d 1'; do
        # shellcheck disable=SC2086  # the words of a command
        curl -fs -o /dev/null -m 5 -X PUT "http://$IP:$http/"$seed || fail "$name: $seed"
    done
    curl -fs -o /dev/null -m 5 "http://$IP:$http/lease" -d '{"ttl":"60m","id":"7"}' || fail "$name: no lease"
    # It leaves a directory where it stands.
    (cd "$WORK" && exec "$VENV/bin/st" --config-file "$HERE/bin/tests/fuzz.toml" run \
        "http://$IP:$http/openapi.json" --seed "$SEED" --max-examples "$EXAMPLES") \
        >"$WORK/$name.out" 2>&1 || code=$?
    if [ "$code" != 0 ]; then
        cat "$WORK/$name.out" >&2
        tail -20 "$WORK/$name.log" >&2
        fail "schemathesis ($name, seed $SEED): exit code $code"
    fi
    kill -0 "$PID" 2>/dev/null || { tail -20 "$WORK/$name.log" >&2; fail "the node ($name) ended"; }
    end_node
    say "$name: ok ($(grep -oE '[0-9]+ generated' "$WORK/$name.out" | tail -1 || true))"
}

fuzz memory
fuzz disk "RAFT_DIR=$WORK/data"
