#!/usr/bin/env bash
# Install packages of Debian, and try again while the package index is busy: install_debian_packages.sh LOG PACKAGE...
set -euo pipefail
log=$1
shift
for try in 1 2 3; do
    if apt-get update -q >"$log" 2>&1 && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" >>"$log" 2>&1; then exit 0; fi
    sleep $((try * 5))
done
tail -20 "$log" >&2
exit 1
