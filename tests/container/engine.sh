#!/usr/bin/env bash
# Provide a container engine for the tests: engine.sh run COMMAND… | up FOLDER | down FOLDER
#
# run   use the engine that `docker info` finds. If there is none, CI starts a temporary engine from Debian packages for
#       COMMAND. On other machines nothing is installed: the script reports that and exits with 0.
# up    start such a temporary engine for experiments and print the variable to export. down stops and removes it.
#
# Finally the firewall rules, IP forwarding and the network bridges are restored; the packages remain installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs="dockerd docker iptables mmdebstrap docker-compose podman runc catatonit systemd-analyze"
packages="docker.io iptables mmdebstrap docker-compose podman runc catatonit systemd"

install_programs() {
    if [ "$(command -v $programs | wc -l)" = "$(echo $programs | wc -w)" ]; then return; fi
    "$here/../install_debian_packages.sh" "$state/apt.log" $packages
}

up() {
    state=$1
    mkdir -p "$state"
    install_programs
    sysctl -n net.ipv4.ip_forward >"$state/ip_forward"
    ls /sys/class/net >"$state/links"
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
        docker ps -aq | xargs -r docker rm --force --volumes >/dev/null || true
        docker network ls -q -f type=custom | xargs -r docker network rm >/dev/null || true
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
        kill -9 "$pid" 2>/dev/null || true
    fi
    if [ -f "$state/iptables" ]; then restore_network; fi
    umount "$state/exec/netns/default" 2>/dev/null || true
    rm -rf "$state"
}

restore_network() { # docker leaves its chains, a closed FORWARD chain and its bridge behind; podman leaves its bridge
    for link in $(ls /sys/class/net | grep -E '^(docker0|br-|cni-podman|podman)' | grep -vxF -f "$state/links"); do
        ip link del "$link" 2>/dev/null || true
    done
    for table in $(iptables-save | sed -n 's/^\*//p'); do # a new table is not in the dump, so iptables-restore does not change it
        if grep -qx "\*$table" "$state/iptables"; then continue; fi
        iptables -t "$table" -F
        iptables -t "$table" -X
        if [ "$table" = filter ]; then iptables -P FORWARD ACCEPT; fi
    done
    iptables-restore <"$state/iptables"
    sysctl -qw "net.ipv4.ip_forward=$(cat "$state/ip_forward")"
}

run() {
    if docker info >/dev/null 2>&1; then exec "$@"; fi
    if [ "${CI:-}" != true ]; then
        echo "container tests skipped: no container engine answers (docker info: $(docker info 2>&1 | tail -1))"
        exit 0
    fi
    state=$(mktemp -d)
    trap 'down "$state"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    up "$state"
    "$here/images.sh"
    "$@"
}

case ${1:-} in
run) shift; run "$@" ;;
up) up "$2"; "$here/images.sh"; echo "export DOCKER_HOST=$DOCKER_HOST" ;;
down) down "$2" ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
