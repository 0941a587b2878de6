#!/usr/bin/env bash
# Run a command with the programs and packages for tests/clients: programs.sh run COMMAND...
#
# Packages are installed into build/clients from the lock files. In CI missing programs are installed from Debian packages.
# Elsewhere nothing is installed system-wide: the script prints the names of the packages and exits with 1.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/clients
build=build/clients
PATH=$PATH:/usr/sbin
declare -A packages=([nginx]=nginx-light [node]=nodejs [npm]=npm [java]=default-jre-headless [promtool]=prometheus)

install_programs() {
    missing=()
    for program in "${!packages[@]}"; do
        command -v "$program" >/dev/null || missing+=("${packages[$program]}")
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    if [ -z "${CI:-}" ]; then
        echo "make clients-check needs Debian's packages: ${missing[*]}" >&2
        exit 1
    fi
    tests/install_debian_packages.sh "$build/apt.log" "${missing[@]}"
}

# Run a function if the content of a file has changed since its last run.
when_changed() {
    stamp=$build/$(basename "$2").stamp
    if ! cmp -s "$2" "$stamp"; then
        "$1"
        cp "$2" "$stamp"
    fi
}

install_python() {
    "${PYTHON:-.venv/bin/python}" -m venv --clear "$build/python"
    "$build/python/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.lock
}

install_node() {
    mkdir -p "$build/node"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$build/node"
    npm --prefix "$build/node" ci --ignore-scripts --silent
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || { echo "usage: $0 run COMMAND..." >&2; exit 2; }
shift
mkdir -p "$build"
install_programs
when_changed install_python requirements/clients.lock
when_changed install_node "$here/package-lock.json"
exec "$@"
