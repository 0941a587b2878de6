#!/usr/bin/env bash
# Builds an image from the model store: make image [MODELS="housing:3 penguins"] [EXTRAS="arrow grpc"] [IMAGE=tabserve:latest]
# Without MODELS, the image contains the newest version of each model. The bill of materials (CycloneDX) is in build/.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
words() { local IFS=,; echo "$*"; }
stop() { echo "image: $*" >&2; exit 1; }

docker info >/dev/null 2>&1 || stop "no container engine answers: $(docker info 2>&1 | tail -1)"
if ! docker buildx version >/dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi # without buildx, the client supports only the old builder
if [ -n "${MODELS:-}" ]; then export TABSERVE_MODELS; TABSERVE_MODELS=$(words $MODELS); fi

IMAGE=${IMAGE:-tabserve:latest}
mkdir -p build
log=build/image.log # the output of the tools
quietly() { "$@" >>"$log" 2>&1 || { tail -20 "$log" >&2; stop "$1 failed, see the complete output: $log"; }; }

: >"$log"
bento=$(bentoml build --output tag --arg "extras=$(words ${EXTRAS:-})" 2>"$log") || { tail -4 "$log" >&2; exit 1; }
bento=${bento##*__tag__:}
folder=$(bentoml get "$bento" --output path)
models=$(sed -n 's/^ *- tag: \([a-z][a-z0-9_]*:[0-9]*\)$/\1/p' "$folder/bento.yaml" | sort -u | xargs)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
quietly bentoml containerize "$bento" --image-tag tabserve:bentoml
quietly docker build --file deploy/Dockerfile --build-arg BENTO=tabserve:bentoml --tag "$IMAGE" \
    --label org.opencontainers.image.title=tabserve --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || true)" \
    --label "tabserve.bento=$bento" --label "tabserve.models=$models" deploy

name=${IMAGE##*/}
sbom=build/${name/:/-}.cdx.json
docker run --rm --interactive --network none --entrypoint python "$IMAGE" - <deploy/sbom.py >"$sbom"
size=$(docker image inspect --format '{{.Size}}' "$IMAGE")
echo "$IMAGE, $((size / 1000000)) MB, contains $models; bill of materials: $sbom"
echo "docker run --rm -p 127.0.0.1:3000:3000 $IMAGE"
