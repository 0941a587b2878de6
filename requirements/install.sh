#!/bin/sh
# Create .venv if it does not exist, and install a lock file of this folder into it: requirements/install.sh training
set -eu
cd "$(dirname "$0")/.."
lock=requirements/$1.lock
stop() { echo "setup: $*" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    for python in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        if fits "$python"; then found=$python; break; fi
    done
    [ -n "${found:-}" ] || stop "needs Python 3.11, 3.12 or 3.13; set it with: make PYTHON=/path/to/python3.12 ..."
    "$found" -m venv .venv 2>.venv.log || {
        rm -rf .venv .venv.log
        stop "$found cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
    }
    rm -f .venv.log
fi
total=$(grep -c '^[A-Za-z0-9].*==' "$lock")
echo "installing the $total packages of $lock into .venv (one or two minutes the first time)"
rm -f .venv/install.status
(
    status=0
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r "$lock" \
        >.venv/install.log 2>&1 || status=$?
    echo $status >.venv/install.status
) &
seconds=0
until [ -s .venv/install.status ]; do # a line every 10 s
    sleep 1
    seconds=$((seconds + 1))
    [ $((seconds % ${PROGRESS_S:-10})) -eq 0 ] || continue
    fetched=$(grep -c -E '^(Collecting|Requirement already satisfied)' .venv/install.log || true)
    if grep -q '^Installing collected packages' .venv/install.log; then
        echo "  $seconds s: all packages are downloaded and are now being installed"
    else
        echo "  $seconds s: $fetched of $total packages downloaded"
    fi
done
wait
[ "$(cat .venv/install.status)" = 0 ] || {
    stop "could not install $lock. Is the package index reachable? See .venv/install.log"
}
# the command tabserve for this checkout, as the wheel installs it
cat >.venv/bin/tabserve <<'EOF'
#!/bin/sh
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$root/.venv/bin/python" -m tabserve "$@"
EOF
chmod +x .venv/bin/tabserve
touch ".venv/.$1"
if [ "$1" = development ]; then touch .venv/.training; fi # it contains all packages of training
