#!/usr/bin/env bash
# Score on real engines on this machine, each in the environment of its lock file: cluster.sh [ENGINE...]
#
# Spark needs Java: in CI it comes from Debian's package; elsewhere nothing is installed system-wide.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/cluster

if ! command -v java >/dev/null; then
    if [ -z "${CI:-}" ]; then
        echo "make cluster-check needs Debian's package: default-jre-headless" >&2
        exit 1
    fi
    apt-get update -q >build/cluster/apt.log 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -qy -o DPkg::Lock::Timeout=120 --no-install-recommends \
        default-jre-headless >>build/cluster/apt.log 2>&1 || { tail -20 build/cluster/apt.log >&2; exit 1; }
fi
[ $# -gt 0 ] || set -- spark ray
for engine in "$@"; do
    lock=requirements/scoring-$engine.lock
    home=build/cluster/$engine
    if ! cmp -s "$lock" "$home/installed.lock"; then
        .venv/bin/python -m venv --clear "$home"
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
        cp "$lock" "$home/installed.lock"
    fi
    "$home/bin/python" -m tests.scoring.on_cluster "$engine"
done
