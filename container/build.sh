#!/usr/bin/env bash
# Builds the image IMAGE (default tusrec): container/build.sh [BUILD-ARGUMENT=VALUE ...]
# A folder PIP_FIND_LINKS is given to the build as its wheels; a CPU wheel of torch there is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-tusrec}
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' tusrec/__init__.py)
# A commit's number, with -dirty where the checkout has changes to it.
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
options=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
for argument in "$@"; do
  options+=(--build-arg "$argument")
  case $argument in BASE=*) base=${argument#BASE=} ;; esac
done
if [ -d "${PIP_FIND_LINKS:-}" ]; then
  wheels=$(find "$PIP_FIND_LINKS" -maxdepth 1 -name '*.whl' -printf '%f ')
  options+=(--build-context "wheels=$PIP_FIND_LINKS" --build-arg "WHEELS=$wheels")
fi

if [ "$(container/engine.sh name)" = docker ]; then
  exec docker build "${options[@]}" --tag "$image" .
fi

# The machine's certificates and pip settings are bound for the build's time and stay out.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ntimeout = 180\n' > "$scratch/pip.conf"

container/base.sh "$base" "$scratch"
container/engine.sh build-tool bud --pull-never --layers --format docker --isolation chroot \
  --network host -v "$certificates:/etc/ssl/certs/ca-certificates.crt:ro" \
  -v "$scratch/pip.conf:/etc/pip.conf:ro" "${options[@]}" --tag "$image" .
