#!/usr/bin/env bash
# Test model stores, bulk scoring and capture at URLs with a local S3 server: check.sh [PYTEST_OPTION...]
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=build/store-check
if ! cmp -s requirements/store.lock "$packages/installed.lock"; then
    rm -rf "$packages"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target "$packages" \
        -r requirements/store.lock
    cp requirements/store.lock "$packages/installed.lock"
fi
PYTHONPATH=$packages .venv/bin/python -m pytest -q -c tests/cloud/pytest.ini tests/cloud "$@"
