#!/usr/bin/env bash
# Provide the images that the project uses, for a temporary engine that may not reach a registry. An image that cannot be
# pulled is built from Debian packages under the same name. Never run this on an engine that is used for anything else.
set -euo pipefail
log=$(mktemp)
trap '[ $? = 0 ] || cat "$log" >&2; rm -f "$log"' EXIT
here=$(cd "$(dirname "$0")" && pwd)

have() {
    docker image inspect "$1" >/dev/null 2>&1 || timeout 20 docker pull -q "$1" >/dev/null 2>&1
}

python_image() { # an image with Debian's Python at the usual place, and this machine's certificates and package index
    index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || set -- -c "ENV PIP_INDEX_URL=$index UV_DEFAULT_INDEX=$index"
    certificates=/etc/ssl/certs/ca-certificates.crt
    mirror=$(awk '/^URIs:|^deb /{print $2; exit}' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null)
    mmdebstrap -q --variant=minbase --mode=root --format=tar --dpkgopt=force-unsafe-io \
        --aptopt='APT::Install-Recommends "false"' --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --include=usr-is-merged,ca-certificates,netbase,tzdata,python3-minimal,python3-venv \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook='chroot "$1" python3 -m venv /usr/local' \
        --customize-hook="upload $certificates $certificates" \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" - "$mirror" 2>"$log" |
        docker import "$@" -c 'CMD ["python3"]' \
            -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
            -c "ENV SSL_CERT_FILE=$certificates PIP_CERT=$certificates REQUESTS_CA_BUNDLE=$certificates" \
            - "$python" >/dev/null
}

package_image() { # package_image NAME PACKAGE ENTRYPOINT CMD: an image of a Debian package instead of the original image
    printf 'FROM %s\nRUN %s && install -d -o 65534 -g 65534 /prometheus\nENTRYPOINT %s\nCMD %s\n' \
        "$python" "apt-get update -q && apt-get install -qy --no-install-recommends $2" "$3" "$4" |
        DOCKER_BUILDKIT=0 docker build -q -t "$1" - >/dev/null 2>"$log"
}

named() { awk -v name="$1" '$1 == "image:" && index($2, name) {print $2; exit}' "$here/../../deploy/compose.yaml"; }

python=$(awk '/^FROM python:/{print $2; exit}' "$here/../../deploy/Dockerfile")
have "$python" || python_image
[ ! -f "$here/../../deploy/compose.yaml" ] || {
    nginx=$(named nginx) prometheus=$(named prometheus)
    have "$nginx" || package_image "$nginx" nginx-light '[]' '["nginx", "-g", "daemon off;"]'
    have "$prometheus" || package_image "$prometheus" prometheus '["prometheus"]' \
        '["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
}
