#!/usr/bin/env bash
# Install Debian packages, with several attempts if the package index is busy: install_debian_packages.sh LOG PACKAGE...
#
# The daemons of these packages (nginx, prometheus) are not started, because tests start them with their own configuration.
set -euo pipefail
log=$1
shift
policy=/usr/sbin/policy-rc.d # Debian's scripts run it before they start a daemon; exit code 101 forbids that
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
for try in 1 2 3; do
    if apt-get update -q >"$log" 2>&1 && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" >>"$log" 2>&1; then exit 0; fi
    sleep $((try * 5))
done
tail -20 "$log" >&2
exit 1
