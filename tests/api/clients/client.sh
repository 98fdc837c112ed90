#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A client written from docs/reference/api.md alone: sh client.sh URL KEY FOLDER
# FOLDER holds model.onnx, calibration.npz and new.npz. Needs curl and sed. Prints what it saw.
set -eu
base=$1 key=$2 folder=$3

ask() { # METHOD PATH [curl's options..]: the body; the status must be below 400
    method=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body --retry 5 --request "$method" \
        --header "Authorization: Bearer $key" "$@" "$base$path"
}

once() { # a fresh idempotency key
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

field() { # NAME < JSON: the first text or number of that name
    tr -d '\n' | sed -n "s/.*[{,][[:space:]]*\"$1\":[[:space:]]*\"\{0,1\}\([^\",}]*\).*/\1/p"
}

make() { # PATH BODY
    ask POST "$1" --header 'Content-Type: application/json' --header "Idempotency-Key: $(once)" --data "$2"
}

wait_for() { # JOB: its last state
    while :; do
        state=$(ask GET "/api/v1/jobs/$1" | field state)
        case $state in
        succeeded) return ;;
        failed | cancelled) echo "job $1: $state" >&2 && return 1 ;;
        esac
        sleep 0.1
    done
}

answer=$(ask POST /api/v1/models --header "Idempotency-Key: $(once)" --form 'name=from sh' \
    --form "onnx=@$folder/model.onnx" --form "calibration=@$folder/calibration.npz")
model=$(printf %s "$answer" | field id)
wait_for "$(printf %s "$answer" | field job_id)"
echo "model $model"

stored=$(ask POST "/api/v1/models/$model/samples" --header 'Content-Type: application/octet-stream' \
    --header "Idempotency-Key: $(once)" --data-binary "@$folder/new.npz")
echo "stored $(printf %s "$stored" | field stored)"

answer=$(make /api/v1/updates "{\"model_id\": \"$model\", \"steps\": 40}")
wait_for "$(printf %s "$answer" | field job_id)"
update=$(printf %s "$answer" | field id)
version=$(ask GET "/api/v1/updates/$update" | field version)
echo "version $version"

ask GET "/api/v1/models/$model/versions/$version/state" --output "$folder/new.state"

refused=$(curl --silent --output "$folder/problem.json" --write-out '%{http_code} %{content_type}' \
    --header "Authorization: Bearer $key" "$base/api/v1/models/$model/versions/99")
echo "refused $refused"
echo "because $(field detail < "$folder/problem.json")"
