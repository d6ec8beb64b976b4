#!/bin/bash
# Builds the shipped image and drives the shipped compose file with a real engine: start orders,
# published ports, stopped and killed containers, a cut network. Skips (saying so) without an
# engine. Where the base image cannot be pulled, makes a stand-in for it from this machine's own
# toolchain, so that the Dockerfile itself is built. Removes everything it made, by name.
#
#   KVORUM_DOCKER_KEEP=1   keep the images for a faster next run
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '   docker: %s\n' "$*"; }
skip() { say "SKIPPED: $*"; exit 0; }
fail() {
    printf '\n   docker: FAILED: %s\n' "$*" >&2
    compose logs --no-color --tail=60 >&2 || true
    exit 1
}

command -v docker >/dev/null || skip 'there is no docker command'
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || skip 'no Docker engine answers'
if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose)
elif command -v docker-compose >/dev/null; then COMPOSE=(docker-compose)
else skip 'there is neither docker compose nor docker-compose'; fi

# One run at a time on a machine: the ports (and image names) are the contract's, not ours to choose.
exec 9>"${TMPDIR:-/tmp}/kvorum-contract-ports.lock"
if command -v flock >/dev/null && ! flock -n 9; then
    say 'waiting for another run on this machine to end'
    flock 9
fi

PROJECT=kvorum-test-$$
compose() { "${COMPOSE[@]}" -p "$PROJECT" "$@"; }
BASE=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
IMAGE=kvorum
WORK=$(mktemp -d)
MADE_BASE='' MADE_IMAGE=''

cleanup() {
    compose down -v --remove-orphans -t 2 >/dev/null 2>&1 || true
    if [ -z "${KVORUM_DOCKER_KEEP:-}" ]; then
        [ -z "$MADE_IMAGE" ] || docker rmi -f "$IMAGE" >/dev/null 2>&1 || true
        docker image prune -f --filter label=dev.kvorum.stage=build >/dev/null 2>&1 || true
        [ -z "$MADE_BASE" ] || docker rmi -f "$BASE" >/dev/null 2>&1 || true
    fi
    rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

for port in 8081 8082 8083 8084; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        printf '   docker: FAILED: port %s is in use, and the compose file publishes it\n' "$port" >&2
        exit 1
    fi
done

# --- the base image -------------------------------------------------------------------------------

# The files of the Debian packages that a C linker needs, with all they depend on.
package_files() {
    local queue=(gcc libc6-dev binutils coreutils dash bash sed grep findutils libc-bin)
    local -A seen=()
    while [ ${#queue[@]} -gt 0 ]; do
        local package=${queue[0]}
        queue=("${queue[@]:1}")
        [ -z "${seen[$package]:-}" ] || continue
        seen[$package]=1
        dpkg -L "$package" 2>/dev/null || continue
        local needs
        needs=$(dpkg-query -W -f '${Pre-Depends}, ${Depends}' "$package" 2>/dev/null || true)
        for need in $(printf '%s' "$needs" | tr ',' '\n' | sed 's/[(|:].*//; s/ //g'); do queue+=("$need"); done
    done
}

stand_in() {
    local sysroot home
    sysroot=$(rustc --print sysroot)
    home=${CARGO_HOME:-$HOME/.cargo}
    command -v dpkg >/dev/null || skip "$BASE cannot be pulled, and there is no dpkg to make a stand-in with"
    [ -x "$sysroot/bin/cargo" ] || skip "$BASE cannot be pulled, and cargo is not in $sysroot/bin"
    say "$BASE cannot be pulled: making a stand-in from this machine's toolchain"
    cargo fetch --locked --quiet
    # Where /bin and /lib are links into /usr, the files go there, or they would replace the links.
    package_files | sort -u | sed -E 's#^/(bin|sbin|lib|lib64|lib32|libx32)(/|$)#/usr/\1\2#' | grep -v -E '^/usr/share/(doc|man|locale|info|lintian)/' |
        while read -r file; do
            # Links go as links; directories come by themselves.
            if [ -L "$file" ] || [ -f "$file" ]; then printf '%s\n' "${file#/}"; fi
        done >"$WORK/files"
    for link in bin sbin lib lib64; do [ -L "/$link" ] && printf '%s\n' "$link"; done >>"$WORK/files"
    for file in usr/bin/cc usr/bin/awk etc/alternatives/cc; do [ -e "/$file" ] && printf '%s\n' "$file"; done >>"$WORK/files"
    tar -C / -cf "$WORK/base.tar" --no-recursion -T "$WORK/files" --transform 's#^#./#S'
    tar -rf "$WORK/base.tar" -C "$sysroot" --exclude=share --exclude=lib/rustlib/src --transform 's#^\.#./usr/local/rust#' .
    tar -rf "$WORK/base.tar" -C "$home" --transform 's#^registry#./usr/local/cargo/registry#' registry/index registry/cache
    mkdir -p "$WORK/tmp" && tar -rf "$WORK/base.tar" -C "$WORK" --mode=1777 --transform 's#^tmp#./tmp#' tmp
    docker import \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo' --change 'ENV CARGO_NET_OFFLINE=true' \
        --change 'CMD ["bash"]' "$WORK/base.tar" "$BASE" >/dev/null
    rm -f "$WORK/base.tar"
    MADE_BASE=1
}

if ! docker image inspect "$BASE" >/dev/null 2>&1; then
    timeout 300 docker pull -q "$BASE" >/dev/null 2>&1 || stand_in
fi
docker image inspect "$IMAGE" >/dev/null 2>&1 || MADE_IMAGE=1

# --- talking to the cluster -----------------------------------------------------------------------

port() { echo "808${1#app}"; }
get() { curl -s -m 20 "http://localhost:$(port "$1")$2"; }
code() { curl -s -m 20 -o /dev/null -w '%{http_code}' "http://localhost:$(port "$1")$2" || true; }
until_ok() { # WHAT COMMAND...: asks for up to a minute
    local what=$1
    shift
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "waited a minute in vain: $what"
}
is_ready() { [ "$(code "$1" /readyz)" = 200 ]; }
ready() { for node in "$@"; do until_ok "$node is ready" is_ready "$node"; done; }
sees_voters() { [ "$(get "$1" /cluster | grep -o '"voter":true' | wc -l)" = "$2" ]; }
leader() { get "$1" /status | sed -n 's/.*"leader":"\([^"]*\)".*/\1/p'; }
other_leader() { # SEER OLD: a leader that is not OLD
    local now
    now=$(leader "$1")
    [ -n "$now" ] && [ "$now" != "$2" ]
}
put() { # NODE KEY VALUE
    local answer
    answer=$(curl -s -m 20 -X POST "http://localhost:$(port "$1")/key" -d "{\"$2\":\"$3\"}") || fail "POST $2 at $1: curl exit code $?"
    [ "$answer" = "{\"$2\":\"$3\"}" ] || fail "POST $2 at $1: $answer"
}
reads() { # NODE KEY VALUE
    local answer
    answer=$(get "$1" "/key/$2") || fail "GET $2 at $1: curl exit code $?"
    [ "$answer" = "{\"$2\":\"$3\"}" ] || fail "GET $2 at $1: $answer"
}
all_read() { for node in app1 app2 app3 app4; do reads "$node" "$1" "$2"; done; }
container() { compose ps -q "$1"; }
somebody_else() { for node in app1 app2 app3 app4; do [ "$node" = "$1" ] || { echo "$node"; return; }; done; }
cluster_of_four() {
    ready app1 app2 app3 app4
    for node in app1 app2 app3 app4; do until_ok "$node sees four voters" sees_voters "$node" 4; done
}

# --- the commands of the contract -----------------------------------------------------------------

say "building the image"
compose up -d --build app1 >"$WORK/build.log" 2>&1 || { tail -40 "$WORK/build.log" >&2; fail 'up app1 -d --build'; }
compose up -d app2 app3 app4 >>"$WORK/build.log" 2>&1 || { tail -40 "$WORK/build.log" >&2; fail 'up app2 app3 app4 -d'; }
cluster_of_four
for node in app1 app2 app3 app4; do
    put "$node" "from-$node" "$node"
    all_read "from-$node" "$node"
done
say 'app1 first, then the others: ok'

size=$(docker image inspect -f '{{.Size}}' "$IMAGE")
[ "$size" -lt 20000000 ] || fail "the image has $size bytes"
[ "$(docker image inspect -f '{{.Config.User}}' "$IMAGE")" = 10001:10001 ] || fail 'the image does not run as 10001'
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
for node in app1 app4; do until_ok "$node is healthy" healthy "$node"; done
docker run --rm --entrypoint sh "$IMAGE" -c true >/dev/null 2>&1 && fail 'there is a shell in the image'
say "image of $((size / 1024)) KiB, not root, no shell, healthy: ok"

# --- containers that stop and die -----------------------------------------------------------------

old=$(leader app1)
follower=$(somebody_else "$old")
id=$(container "$follower")
compose stop "$follower" >/dev/null 2>&1
[ "$(docker inspect -f '{{.State.ExitCode}}' "$id")" = 0 ] || fail "$follower: exit code after SIGTERM"
put "$old" while-stopped 1
compose start "$follower" >/dev/null 2>&1
ready "$follower"
reads "$follower" while-stopped 1
say 'a stopped follower comes back: ok'

old=$(leader app1)
survivor=$(somebody_else "$old")
compose kill "$old" >/dev/null 2>&1
put "$survivor" while-killed 1
until_ok 'a new leader' other_leader "$survivor" "$old"
compose start "$old" >/dev/null 2>&1
cluster_of_four
all_read while-killed 1
say 'a killed leader is replaced and comes back: ok'

# --- networks -------------------------------------------------------------------------------------

old=$(leader app1)
survivor=$(somebody_else "$old")
docker pause "$(container "$old")" >/dev/null
until_ok 'a new leader' other_leader "$survivor" "$old"
put "$survivor" while-paused 1
docker unpause "$(container "$old")" >/dev/null
ready "$old"
# What it believed before it was frozen must not show: this read needs a majority's word.
reads "$old" while-paused 1
say 'a frozen leader is replaced and reads nothing old: ok'

old=$(leader app1)
survivor=$(somebody_else "$old")
network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$(container "$old")")
docker network disconnect "$network" "$(container "$old")"
until_ok 'a new leader' other_leader "$survivor" "$old"
put "$survivor" while-cut-off 1
docker network connect --alias "$old" "$network" "$(container "$old")"
ready "$old"
cluster_of_four
all_read while-cut-off 1
say 'a leader cut off from its network is replaced and comes back: ok'

# --- everything dies, and other orders ------------------------------------------------------------

compose kill >/dev/null 2>&1
compose start >/dev/null 2>&1
cluster_of_four
all_read while-killed 1
say 'all killed, all back: ok'

compose down -v -t 10 >/dev/null 2>&1
for node in app4 app3 app2 app1; do compose up -d "$node" >/dev/null 2>&1; sleep 0.5; done
cluster_of_four
put app4 order reverse
all_read order reverse
compose down -v -t 10 >/dev/null 2>&1
[ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$PROJECT")" ] || fail 'down left containers behind'
say 'started in the reverse order, and down: ok'
