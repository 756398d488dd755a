#!/usr/bin/env bash
# Puts the base image BASE into podman's store: container/base.sh BASE SCRATCH
# Pulls it where a registry answers; else makes a stand-in, the same Debian and Python release, from
# Debian's packages. SCRATCH is a folder for its archive.
set -euo pipefail
cd "$(dirname "$0")/.."
base=$1 scratch=$2

if container/engine.sh image exists "$base"; then exit; fi
if [ -z "${OFFLINE:-}" ] && timeout 60 container/engine.sh pull --quiet "$base" 2>/dev/null; then
  exit
fi
case $base in
  python:3.11-*bookworm) ;;
  *) echo "error: cannot pull $base, and know no stand-in for it" >&2 && exit 1 ;;
esac

echo "no registry answers: making a stand-in of $base from Debian's packages"
here=/usr/local/bin
# shellcheck disable=SC2016 # the hooks expand their $1
mmdebstrap --quiet --skip=output/dev --variant=minbase \
  --include=python3,python3-pip,ca-certificates \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="cd \"\$1$here\" && ln -s ../../bin/python3 python3 && ln -s python3 python" \
  --customize-hook="cd \"\$1$here\" && ln -s ../../bin/pip3 pip3 && ln -s pip3 pip" \
  --customize-hook='rm -f "$1/usr/lib/python3.11/EXTERNALLY-MANAGED" "$1/etc/resolv.conf"' \
  --customize-hook='echo localhost > "$1/etc/hostname"' \
  --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*' \
  bookworm "$scratch/base.tar"
container/engine.sh import --quiet \
  --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' \
  "$scratch/base.tar" "$base" > /dev/null
