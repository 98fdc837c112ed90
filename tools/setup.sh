#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set up all that a make target needs: tools/setup.sh demo | dev
#
# Python: .venv with the versions of constraints.txt and the named extra; an existing .venv is used as it
# is. Debian's compilers and emulators: tools/debian_tools.sh. Does nothing, quickly, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=${1:-dev}
venv=.venv
attempts=3
install_limit_s=1800
# Only pip's waiting is set here; where packages come from is the machine's own configuration.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}" PIP_RETRIES="${PIP_RETRIES:-5}"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in python3.11 python3 python3.12 python3.13 python3.14; do
        if has "$name" && new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    return 1
}

# The index may be slow or drop a connection: try again, a little later.
patiently() {
    local try
    for ((try = 1; try <= attempts; try++)); do
        timeout "$install_limit_s" "$@" </dev/null && return 0
        [ "$try" = "$attempts" ] || { say "try $try of $attempts failed, once more: $1 ${2-} ${3-}"; sleep $((try * 5)); }
    done
    return 1
}

# Debian keeps pip's wheel in a package of its own; any user may download and unpack it.
pip_from_debian() {
    local work=$1 lists
    lists=(-o "Dir::State=$work/state" -o "Dir::Cache=$work/cache" -o Dir::State::status=/var/lib/dpkg/status)
    has apt-get && has dpkg-deb || return 1
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    patiently apt-get -qq "${lists[@]}" update >&2 || return 1
    (cd "$work" && patiently apt-get -qq "${lists[@]}" download python3-pip-whl >&2) || return 1
    dpkg-deb -x "$work"/python3-pip-whl_*.deb "$work/wheel"
    find "$work/wheel" -name 'pip-*.whl'
}

# A virtual environment where this Python has venv but not ensurepip, which Debian splits off.
make_venv_without_ensurepip() {
    local python=$1 work wheel
    "$python" -m venv --clear --without-pip "$venv"
    if "$python" -m pip --version >/dev/null 2>&1; then
        patiently "$python" -m pip --python "$venv/bin/python" install -q pip
        return
    fi
    work=$(mktemp -d)
    if wheel=$(pip_from_debian "$work") && [ -n "$wheel" ]; then
        patiently "$venv/bin/python" "$wheel/pip" install -q --no-index "$wheel"
        rm -rf "$work"
        return
    fi
    rm -rf "$work" "$venv"
    die "this Python cannot make virtual environments with pip: ask for the Debian package python3-venv, then run again"
}

make_venv() {
    local python
    python=$(find_python) || {
        if ! is_root || ! has apt-get; then
            die "Python 3.11 or later is needed: install the Debian package python3"
        fi
        apt-get update -qq </dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv </dev/null >&2
        python=$(find_python) || die "Debian's python3 is older than 3.11"
    }
    say "making $venv with $("$python" --version)"
    if ! "$python" -c 'import ensurepip' 2>/dev/null && is_root && has apt-get; then
        patiently apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive patiently apt-get install -y -qq --no-install-recommends python3-venv >&2 || true
    fi
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv --clear "$venv"
    else
        make_venv_without_ensurepip "$python"
    fi
}

# Renamed only when all went well, so that an interrupted installation starts again.
install_packages() {
    local stamp=$1 digest=$2
    say "installing Python packages (once; about 500 MB on disk)"
    patiently "$venv/bin/python" -m pip install -q --progress-bar off -c constraints.txt -e ".[$extra]" \
        || die "the Python packages could not be installed; see above, then run the same command again"
    echo "$digest" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

case $extra in demo | dev) ;; *) die "usage: tools/setup.sh demo | dev" ;; esac
# Two targets started at once share one set-up.
if has flock; then
    exec 9>.setup.lock
    flock -w "$install_limit_s" 9 || die "another set-up has held .setup.lock for too long"
fi
new_enough "$venv/bin/python" || make_venv
stamp=$venv/.installed-$extra
digest=$(sha256sum pyproject.toml constraints.txt server/__init__.py | sha256sum)
# Debian's tools come beside Python's packages: both mostly wait for other machines.
tools/debian_tools.sh "$extra" &
debian_tools=$!
trap wait EXIT
[ "$(cat "$stamp" 2>/dev/null)" = "$digest" ] || install_packages "$stamp" "$digest"
wait "$debian_tools"
