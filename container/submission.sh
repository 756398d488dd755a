#!/usr/bin/env bash
# Saves a judged image with what a challenge asks for: container/submission.sh IMAGE FOLDER [BUILD]
# One whose torch uses no GPU is refused, unless BUILD, with which torch's version ends, is +cpu.
set -euo pipefail
image=$1 folder=$2 build=${3:-}
engine=$(dirname "$0")/engine.sh
archive=$folder/tusrec.tar.gz
mkdir -p "$folder"

# The name may have been given a prefix, with which it loads again.
name=$("$engine" image inspect --format '{{index .RepoTags 0}}' "$image")
revision=$("$engine" image inspect \
  --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$image")
contents=$("$engine" run --rm --network none --entrypoint python "$name" -c '
import torch, tusrec
from model.registry import DEFAULT_MODEL, load_estimator
print(tusrec.__version__, torch.__version__, load_estimator(DEFAULT_MODEL).weights_sha256)')
read -r version torch weights <<< "$contents"
if [[ $torch == *+cpu && $build != +cpu ]]; then
  echo "error: $name: found torch $torch, which uses no GPU, expected a CUDA build; unset" \
    "PIP_FIND_LINKS, or ask for it: make submission TORCH=+cpu" >&2
  exit 2
fi

trap 'rm -f "$archive.part"' EXIT
"$engine" save "$name" | gzip -n > "$archive.part"
mv "$archive.part" "$archive"
"$(dirname "$0")/sbom.sh" "$name" "$folder/sbom.cdx.json"
cp THIRD_PARTY_LICENSES.md weights/manifest.json "$folder"
(cd "$folder" && sha256sum tusrec.tar.gz sbom.cdx.json manifest.json > SHA256SUMS)

cat <<TEXT
$archive
  size    $(stat -c %s "$archive") bytes
  sha256  $(cut -d ' ' -f 1 < "$folder/SHA256SUMS" | head -n 1)

For the organisers' form:
  contents  tusrec $version, torch $torch, revision $revision
  weights   sha256 $weights
  load      docker load --input tusrec.tar.gz
  image     $name
  run       mkdir -p results && chmod a+rwx results
            docker container run --gpus all -it -v ./data:/home/TUS-REC2025/data \\
              -v ./results:/home/TUS-REC2025/results --rm $name
  function  from predict_ddfs import predict_ddfs, in /home/TUS-REC2025
  needs     no network, no rights, no writable root; an NVIDIA driver that suits its torch, or none
TEXT
