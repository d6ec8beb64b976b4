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
        while read -r file; do [ -d "$file" ] && [ ! -L "$file" ] || { [ -e "$file" ] || [ -L "$file" ]; } && [ ! -d "$file" ] && printf '%s\n' "${file#/}"; done >"$WORK/files" || true
    for link in bin sbin lib lib64; do [ -L "/$link" ] && printf '%s\n' "$link"; done >>"$WORK/files"
    for file in usr/bin/cc usr/bin/awk etc/alternatives/cc; do [ -e "/$file" ] && printf '%s\n' "$file"; done >>"$WORK/files"
    {
        tar -C / -cf - --no-recursion -T "$WORK/files" --transform 's#^#./#S'
    } >"$WORK/base.tar"
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
