#!/bin/bash
# What a container runs: the server. `serve` (as SageMaker says it) listens on 8080; `healthy` asks /readyz of the server
# that runs here; anything else is a command to run in its place.
set -euo pipefail
note=$BENTOML_HOME/port

healthy() {
    exec 3<>"/dev/tcp/127.0.0.1/$(<"$note")"
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    read -r -t 4 _ status _ <&3
    [ "$status" = 200 ]
}

case ${1:-} in
'') port=3000 ;;
serve) port=8080 ;;
healthy) healthy; exit ;;
*) exec "$@" ;;
esac
port=${AIP_HTTP_PORT:-${SAGEMAKER_BIND_TO_PORT:-${PORT:-$port}}} # Vertex AI, SageMaker, Cloud Run and others

mkdir -p "$BENTOML_HOME" 2>/dev/null && echo "$port" 2>/dev/null >"$note" || {
    echo "tabserve: $BENTOML_HOME cannot be written; with a read-only root give it a tmpfs: --tmpfs /tmp" >&2
    exit 1
}
exec bentoml serve "$BENTO_PATH" --host 0.0.0.0 --port "$port"
