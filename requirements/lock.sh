#!/bin/sh
# Pin what pyproject.toml asks for, for every platform and Python at once, with hashes. Needs uv.
# The development lock holds all, and the others are parts of it: what is tested is what is shipped.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 "$@" pyproject.toml; }
compile --extra development -o requirements/development.lock
part() { compile --constraint requirements/development.lock --no-annotate "$@"; }
part -o requirements/serving.lock
part --extra arrow -o requirements/serving-arrow.lock
part --extra grpc -o requirements/serving-grpc.lock
part --extra tensorflow -o requirements/serving-tensorflow.lock
part --extra training -o requirements/training.lock
