#!/usr/bin/env bash
# Run a command with the browser and the packages for tests/browser: browser.sh COMMAND...
#
# Packages are installed into build/browser from their lock file. The browser is Debian's Chromium, which is installed in CI
# if it is missing. Elsewhere nothing is installed system-wide: the script prints the name of the package and exits with 1.
set -euo pipefail
cd "$(dirname "$0")/../.."
lock=requirements/browser.lock
build=build/browser
[ $# -gt 0 ] || { echo "usage: $0 COMMAND..." >&2; exit 2; }
mkdir -p "$build"

if ! command -v "${CHROMIUM:-chromium}" >/dev/null; then
    if [ -z "${CI:-}" ]; then
        echo "make browser-check needs Chromium: Debian's package chromium, or CHROMIUM=/path/to/chromium" >&2
        exit 1
    fi
    tests/install_debian_packages.sh "$build/apt.log" chromium
fi
if ! cmp -s "$lock" "$build/installed.lock"; then
    rm -rf "$build/packages"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target "$build/packages" -r "$lock"
    cp "$lock" "$build/installed.lock"
fi
PYTHONPATH=$build/packages exec "$@"
