#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's first session as a stranger has it: a fresh clone, a fresh environment, its commands
# one by one, each with the seconds it took. Downloads of packages are part of it.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q . "$work/hadapt"
cd "$work/hadapt"
began=$SECONDS

timed() {
    local start=$SECONDS
    eval "$1" >"$work/out" 2>&1 || { cat "$work/out"; echo "failed: $1"; exit 1; }
    printf '%4d s  %s\n' "$((SECONDS - start))" "$1"
}

timed "make setup-demo"
source .venv/bin/activate
mapfile -t commands < <(sed -n 's/^\$ //p' README.md)
[ "${#commands[@]}" -gt 0 ]
for command in "${commands[@]}"; do
    timed "$command"
done
printf '%4d s  together\n' "$((SECONDS - began))"
