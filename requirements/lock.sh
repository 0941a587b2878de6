#!/bin/sh
# Pin what pyproject.toml asks for, for every platform and Python at once, with hashes. Needs uv.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 "$@" pyproject.toml; }
compile -o requirements/serving.lock
compile --extra tensorflow -o requirements/serving-tensorflow.lock
compile --extra training -o requirements/training.lock
compile --extra development -o requirements/development.lock
