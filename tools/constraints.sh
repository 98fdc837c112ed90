#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Renew constraints.txt. No index address is written; a test makes sure.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install -q -c constraints.txt uv
{
    echo "# Exact versions for every extra, Python 3.11 and later. Renew: make constraints."
    .venv/bin/python -m uv pip compile -q --upgrade --universal --python-version 3.11 --all-extras \
        --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml
} >constraints.txt.new
mv constraints.txt.new constraints.txt
