#!/usr/bin/env bash
# A container engine for the tests: engine.sh run COMMAND… | up FOLDER | down FOLDER
#
# run  uses the engine that `docker info` finds. Where there is none, CI gets a throw-away one from Debian's packages for
#      the time of COMMAND; on anyone else's machine nothing is installed: it says so and ends with 0.
# up   such a throw-away engine that stays, for trying things; it prints what to export. down ends it and removes it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

up() {
    state=$1
    mkdir -p "$state"
    sysctl -n net.ipv4.ip_forward >"$state/ip_forward"
    programs="dockerd docker iptables mmdebstrap docker-compose podman runc"
    if [ "$(command -v $programs | wc -l)" != "$(echo $programs | wc -w)" ]; then
        apt-get update -q >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
            docker.io iptables mmdebstrap docker-compose podman runc >/dev/null
    fi
    iptables-save >"$state/iptables"
    export DOCKER_HOST=unix://$state/docker.sock
    setsid dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/docker.pid" -H "$DOCKER_HOST" \
        --log-level warn >"$state/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 120); do
        if docker info >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    tail -20 "$state/dockerd.log" >&2
    return 1
}

down() {
    state=$1
    export DOCKER_HOST=unix://$state/docker.sock
    pid=$(cat "$state/docker.pid" 2>/dev/null || true)
    if [ -n "$pid" ]; then
        docker ps -q | xargs -r docker rm -f >/dev/null
        bridges=$(docker network ls -q -f driver=bridge)
        kill "$pid"
        for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
        for bridge in $bridges; do ip link del "br-$bridge" 2>/dev/null || true; done
        ip link del docker0 2>/dev/null || true # its own: `up` is only called where no engine ran
    fi
    iptables-restore <"$state/iptables"
    sysctl -qw "net.ipv4.ip_forward=$(cat "$state/ip_forward")"
    umount "$state/exec/netns/default" 2>/dev/null || true
    rm -rf "$state"
}

run() {
    if docker info >/dev/null 2>&1; then exec "$@"; fi
    if [ "${CI:-}" != true ]; then
        echo "container tests skipped: no container engine answers (docker info: $(docker info 2>&1 | tail -1))"
        exit 0
    fi
    state=$(mktemp -d)
    trap 'down "$state"' EXIT
    up "$state"
    "$here/images.sh"
    "$@"
}

case ${1:-} in
run) shift; run "$@" ;;
up) up "$2"; "$here/images.sh"; echo "export DOCKER_HOST=$DOCKER_HOST" ;;
down) down "$2" ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
