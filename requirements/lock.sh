#!/bin/sh
# Lock the dependencies of pyproject.toml with hashes, for all platforms and Python versions at once. Needs uv.
# The development lock contains all packages, and the other locks are subsets of it: the tested versions are shipped.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 "$@" pyproject.toml; }
compile --extra development -o requirements/development.lock
python3 requirements/repeat_extras.py requirements/development.lock pydantic email # needed by sigstore, a dependency of model-signing
part() { compile --constraint requirements/development.lock --no-annotate "$@"; }
part -o requirements/serving.lock
part --extra arrow -o requirements/serving-arrow.lock
part --extra cloud -o requirements/serving-cloud.lock
part --extra grpc -o requirements/serving-grpc.lock
part --extra signing -o requirements/serving-signing.lock
part --extra tracing -o requirements/serving-tracing.lock
part --extra tensorflow -o requirements/serving-tensorflow.lock
part --extra spark -o requirements/scoring-spark.lock
part --extra ray -o requirements/scoring-ray.lock
part --extra training -o requirements/training.lock
# The programs with which tests/container checks deploy/. The first package is used only for two programs that it contains,
# so its dependencies are left out.
aws="aws-cdk-lib aws-cdk-asset-awscli-v1 aws-cdk-asset-node-proxy-agent-v6 aws-cdk-cloud-assembly-schema constructs jsii publication"
uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 --no-annotate \
    $(printf -- '--no-emit-package %s ' $aws) requirements/deployment.in -o requirements/deployment.lock
# The client generators of tests/clients; those of Node are locked in its package-lock.json.
uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/clients.in -o requirements/clients.lock
# The development suite: packages of which only the tables are used, and the learners with which the network is compared.
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/suite.in -o requirements/suite.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    --constraint requirements/development.lock requirements/bulk.in -o requirements/bulk.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    --constraint requirements/development.lock requirements/store.in -o requirements/store.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    --constraint requirements/scoring-ray.lock requirements/training-ray.in -o requirements/training-ray.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/shap.in -o requirements/shap.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/tables.in -o requirements/tables.lock
uv pip compile --no-deps --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/large.in -o requirements/large.lock
uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/learners.in -o requirements/learners.lock
# Other servers, with which the benchmark compares this server.
for peer in fastapi litserve mlserver mlflow ray; do
    uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
        requirements/peer-$peer.in -o requirements/peer-$peer.lock
done
# The browser tests: Playwright and axe-core. Packages that are also in the development lock have the same versions.
uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    --constraint requirements/development.lock requirements/browser.in -o requirements/browser.lock
# The package with which the drift statistics are compared.
uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --python-version 3.11 \
    requirements/evidently.in -o requirements/evidently.lock
python3 requirements/repeat_extras.py requirements/evidently.lock pandas parquet # needed by evidently
