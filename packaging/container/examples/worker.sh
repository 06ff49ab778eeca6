#!/bin/sh
# A queue worker: each job names a prefix; the worker fetches it, works on it, and pushes what it has made.
# The exit status of s32s decides: 75 puts the job back, anything else but 0 fails it.
set -u

job=$1                     # such as "2026/order-1234"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

s32s sync "s3://my-bucket/in/$job" "$work/in" --quiet
status=$?
[ "$status" -eq 75 ] && exit 75
[ "$status" -ne 0 ] && exit 1

mkdir "$work/out"
render "$work/in" "$work/out" || exit 1

s32s sync "$work/out" "s3://my-bucket/out/$job" --quiet
