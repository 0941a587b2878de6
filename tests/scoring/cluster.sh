#!/usr/bin/env bash
# Score and train on local cluster engines, each in the environment of its lock file: cluster.sh [ENGINE...]
#
# Spark needs Java. In CI it is installed from a Debian package; elsewhere nothing is installed system-wide.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/cluster

if ! command -v java >/dev/null; then
    if [ -z "${CI:-}" ]; then
        echo "make cluster-check needs Debian's package: default-jre-headless" >&2
        exit 1
    fi
    tests/install_debian_packages.sh build/cluster/apt.log default-jre-headless
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
    [ "$engine" = ray ] || continue
    # Training needs the packages of .venv and Ray.
    packages=build/cluster/training-ray
    if ! cmp -s requirements/training-ray.lock "$packages/installed.lock"; then
        rm -rf "$packages"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --target "$packages" -r requirements/training-ray.lock
        cp requirements/training-ray.lock "$packages/installed.lock"
    fi
    PYTHONPATH=$packages .venv/bin/python -m tests.training.on_ray
done
