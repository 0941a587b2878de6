#!/bin/bash
# The entry point of a container. Without arguments it runs the server; `serve` (from SageMaker) runs it on port 8080;
# `healthy` requests /readyz of the server in this container; any other argument is a command that runs instead.
# SSL_CERTFILE, SSL_KEYFILE and SSL_CA_CERTS name the files for BentoML's TLS options.
set -euo pipefail
port_file=$BENTOML_HOME/port

healthy() {
    if [ -n "${SSL_CERTFILE:-}" ]; then healthy_tls "$1"; return; fi
    exec 3<>"/dev/tcp/127.0.0.1/$(<"$port_file")"
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
    read -r -t 4 _ status _ <&3
    [ "$status" = 200 ]
}

# If clients need certificates, the health check uses the certificate of the server.
healthy_tls() {
    python - "$1" "$(<"$port_file")" <<'EOF'
import os, socket, ssl, sys
context = ssl._create_unverified_context()
if os.environ.get("SSL_CA_CERTS"):
    context.load_cert_chain(os.environ["SSL_CERTFILE"], os.environ.get("SSL_KEYFILE"))
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[2])), 4))
connection.sendall(b"GET %s HTTP/1.0\r\n\r\n" % sys.argv[1].encode())
sys.exit(connection.recv(100).split()[1] != b"200")
EOF
}

case ${1:-} in
'') port=3000 ;;
serve) port=8080 ;;
healthy) healthy "${2:-/readyz}"; exit ;;
*) exec "$@" ;;
esac
port=${AIP_HTTP_PORT:-${SAGEMAKER_BIND_TO_PORT:-${PORT:-$port}}} # Vertex AI, SageMaker, Cloud Run and others

mkdir -p "$BENTOML_HOME" 2>/dev/null && echo "$port" 2>/dev/null >"$port_file" || {
    echo "tabserve: $BENTOML_HOME cannot be written; with a read-only root give it a tmpfs: --tmpfs /tmp" >&2
    exit 1
}
tls=()
[ -z "${SSL_CERTFILE:-}" ] || tls+=(--ssl-certfile "$SSL_CERTFILE")
[ -z "${SSL_KEYFILE:-}" ] || tls+=(--ssl-keyfile "$SSL_KEYFILE")
[ -z "${SSL_CA_CERTS:-}" ] || tls+=(--ssl-ca-certs "$SSL_CA_CERTS")
exec bentoml serve "$BENTO_PATH" --host 0.0.0.0 --port "$port" ${tls[@]+"${tls[@]}"}
