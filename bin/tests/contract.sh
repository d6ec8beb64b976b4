#!/bin/bash
# The contract, literally: builds the binary, runs the four commands of the page, each order of
# starting in turn, and makes the calls of the page against every node, with the ports of the page.
# Ends every process it started by its pid.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '   contract: %s\n' "$*"; }
WORK=$(mktemp -d)
PIDS=()
stop_all() {
    local pid children
    for pid in "${PIDS[@]}"; do
        # The node that `make run` started would outlive make.
        children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
        # shellcheck disable=SC2086  # a list of pids
        kill -9 "$pid" $children 2>/dev/null || true
    done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    PIDS=()
}
cleanup() { stop_all; rm -rf "$WORK"; }
trap cleanup EXIT
trap 'exit 130' INT TERM
fail() {
    printf '\n   contract: FAILED: %s\n' "$*" >&2
    for log in "$WORK"/*.log; do [ ! -f "$log" ] || { printf -- '--- %s\n' "${log##*/}"; tail -20 "$log"; } >&2; done
    exit 1
}
need_free() {
    for port in "$@"; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '   contract: FAILED: port %s is in use; the contract names it, so end whatever has it and run this again\n' "$port" >&2
            exit 1
        fi
    done
}
# expect NAME STATUS BODY-PATTERN CURL-ARGUMENTS...
expect() {
    local name=$1 status=$2 pattern=$3 got body
    shift 3
    got=$(curl -s -m 20 -w '\n%{http_code}' "$@") || fail "$name: curl exit code $?"
    body=${got%$'\n'*}
    [ "${got##*$'\n'}" = "$status" ] || fail "$name: expected status $status, got ${got##*$'\n'}: $body"
    # shellcheck disable=SC2053  # the pattern is a pattern
    [[ $body == $pattern ]] || fail "$name: expected $pattern, got $body"
}
ready() {
    for port in "$@"; do
        for _ in $(seq 600); do
            curl -fs -o /dev/null -m 2 "http://localhost:$port/readyz" && continue 2
            sleep 0.1
        done
        fail "the node on port $port does not become ready"
    done
}

# One run at a time on a machine: the ports (and image names) are the contract's, not ours to choose.
exec 9>"${TMPDIR:-/tmp}/kvorum-contract-ports.lock"
if command -v flock >/dev/null && ! flock -n 9; then
    say 'waiting for another run on this machine to end'
    flock 9
fi

command -v curl >/dev/null || { say 'FAILED: curl is missing'; exit 1; }
unset NODE_ID PORT RAFT_BIND_ADDR RAFT_JOIN_ADDR RAFT_DIR "${!KVORUM_@}"
need_free 8080 8081 8082 8083 8084 7000 7001 7002 7003 7004

make build >"$WORK/build.out" 2>&1 || { cat "$WORK/build.out" >&2; fail 'make build'; }
[ -x ./main ] || fail 'make build left no ./main'

# --- a single node: make run, ./main.sh from another directory ------------------------------------
single() {
    ready 8080
    expect POST 200 '{"key1":"value1"}' -X POST 'http://localhost:8080/key' --header 'Content-Type: application/json' --data '{"key1": "value1"}'
    expect GET 200 '{"key1":"value1"}' -X GET 'http://localhost:8080/key/key1'
    expect DELETE 200 '*' -X DELETE 'http://localhost:8080/key/key1'
    expect 'GET of a deleted key' 404 '{*"message":*}' -X GET 'http://localhost:8080/key/key1'
    (exec 3<>/dev/tcp/127.0.0.1/7000) 2>/dev/null || fail 'nothing listens on the Raft port 7000'
}
make run >"$WORK/run.log" 2>&1 9>&- &
PIDS+=($!)
single
# make is asked to end; it passes the signal on to the node.
kill -TERM "${PIDS[0]}"; wait "${PIDS[0]}" 2>/dev/null || true
for _ in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null || break; sleep 0.05; done
PIDS=()
say 'make run: ok'

here=$PWD
(cd "$WORK" && NODE_ID=solo exec "$here/main.sh") >"$WORK/main.sh.log" 2>&1 9>&- &
PIDS+=($!)
single
expect 'NODE_ID passes through' 200 '*"node_id":"solo"*' http://localhost:8080/status
kill -TERM "${PIDS[0]}"; wait "${PIDS[0]}" || fail "main.sh: exit code $? after SIGTERM"
PIDS=()
say 'main.sh from another directory: ok'

# --- a cluster by hand ----------------------------------------------------------------------------
app1() { NODE_ID=app1 PORT=8081 RAFT_BIND_ADDR=127.0.0.1:7001 exec ./main; }
app2() { NODE_ID=app2 PORT=8082 RAFT_BIND_ADDR=127.0.0.1:7002 RAFT_JOIN_ADDR=localhost:8081 exec ./main; }
app3() { NODE_ID=app3 PORT=8083 RAFT_BIND_ADDR=127.0.0.1:7003 RAFT_JOIN_ADDR=localhost:8081 exec ./main; }
app4() { NODE_ID=app4 PORT=8084 RAFT_BIND_ADDR=127.0.0.1:7004 RAFT_JOIN_ADDR=localhost:8081 exec ./main; }
start() { "$1" >>"$WORK/$1.log" 2>&1 9>&- & PIDS+=($!); }

calls() {
    for port in 8081 8082 8083 8084; do
        expect "POST at $port" 200 '{"key1":"value1"}' -X POST "http://localhost:$port/key" --header 'Content-Type: application/json' --data '{"key1": "value1"}'
        for other in 8081 8082 8083 8084; do
            expect "GET at $other" 200 '{"key1":"value1"}' -X GET "http://localhost:$other/key/key1"
        done
        expect "POST of several at $port" 200 '{"a":"1","b":"2"}' -X POST "http://localhost:$port/key" -d '{"a":"1","b":"2"}'
        expect "DELETE at $port" 200 '*' -X DELETE "http://localhost:$port/key/key1"
        for other in 8081 8082 8083 8084; do
            expect "GET at $other after DELETE" 404 '{*"message":"key '"'key1'"' not found"*}' -X GET "http://localhost:$other/key/key1"
        done
    done
}
members() { # waits until the node on port $1 sees $2 voters
    for _ in $(seq 600); do
        [ "$(curl -s -m 2 "http://localhost:$1/cluster" | grep -o '"voter":true' | wc -l)" = "$2" ] && return
        sleep 0.1
    done
    fail "the node on port $1 does not see $2 voters: $(curl -s -m 2 "http://localhost:$1/cluster")"
}

for order in 'app1 app2 app3 app4' 'app4 app3 app2 app1' 'app2 app1 app4 app3'; do
    for node in $order; do start "$node"; done
    ready 8081 8082 8083 8084
    members 8083 4
    calls
    say "started as $order: ok"
    [ "$order" = 'app2 app1 app4 app3' ] || stop_all
done

# --- a NODE_ID already in use ---------------------------------------------------------------------
code=0
NODE_ID=app2 PORT=8080 RAFT_BIND_ADDR=127.0.0.1:7000 RAFT_JOIN_ADDR=localhost:8081 timeout 60 ./main >"$WORK/twin.log" 2>&1 || code=$?
[ "$code" = 69 ] || fail "a second app2 ended with exit code $code"
grep -q 'NODE_ID "app2" is already used by' "$WORK/twin.log" || fail 'a second app2 is not told why'
members 8081 4
calls
say 'a second live app2 is refused: ok'
stop_all

# --- values that stop the start -------------------------------------------------------------------
refused() { # PATTERN VARIABLES...
    local pattern=$1 code=0 line
    shift
    line=$(env "$@" timeout 20 ./main 2>&1) || code=$?
    [ "$code" = 64 ] || fail "$*: exit code $code: $line"
    # shellcheck disable=SC2053  # the pattern is a pattern
    [[ $line == $pattern && $line != *$'\n'* ]] || fail "$*: expected $pattern, got $line"
}
refused 'NODE_ID is not set.*' PORT=8080
refused 'PORT=eighty is not accepted: give a port*' NODE_ID=app1 PORT=eighty
refused 'KVORUM_LOGS is not a variable*' NODE_ID=app1 KVORUM_LOGS=info
refused 'RAFT_JOIN_ADDR=localhost:8080 is this node*' NODE_ID=app1 RAFT_JOIN_ADDR=localhost:8080
say 'unknown, malformed and contradictory values: ok'
