#!/usr/bin/env bash
# Runs the container engine of this machine with the given arguments: docker where its daemon
# answers, else podman with a store of its own under STORE (default .cache/container).
#   container/engine.sh name            prints docker or podman
#   container/engine.sh run ...         docker run ... or podman run ...
#   container/engine.sh build-tool ...  buildah ... in podman's store
set -euo pipefail

if docker version >/dev/null 2>&1 && [ -z "${PODMAN:-}" ]; then
  if [ "$1" = name ]; then echo docker; else exec docker "$@"; fi
  exit
fi
if [ "$1" = name ]; then
  echo podman
  exit
fi

tools=(buildah podman runc mmdebstrap)
if ! type "${tools[@]}" >/dev/null 2>&1; then
  if ! type apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "error: no Docker daemon answers; start one, or install ${tools[*]}" >&2
    exit 1
  fi
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${tools[@]}"; } >&2
fi

# Settings of our own leave those of the machine alone. runc, because crun refuses hybrid cgroups.
store=$(realpath -m "${STORE:-$(dirname "$0")/../.cache/container}")
mkdir -p "$store"
export CONTAINERS_STORAGE_CONF=$store/storage.conf CONTAINERS_CONF=$store/containers.conf
cat > "$CONTAINERS_STORAGE_CONF" <<C
[storage]
driver = "overlay"
runroot = "$store/run"
graphroot = "$store/storage"
C
cat > "$CONTAINERS_CONF" <<C
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
C

if [ "$1" = build-tool ]; then
  shift
  exec buildah "$@"
fi
# Its monitor leaves a file named oom where it was started when a container runs out of memory.
if [ "$1" = run ]; then cd "$store"; fi
exec podman "$@"
