#!/usr/bin/env bash
# Saves a judged image with what a challenge asks for: container/submission.sh IMAGE FOLDER
set -euo pipefail
image=$1 folder=$2
engine=$(dirname "$0")/engine.sh
mkdir -p "$folder"

# The name may have been given a prefix, with which it loads again.
name=$("$engine" image inspect --format '{{index .RepoTags 0}}' "$image")
"$engine" save "$name" | gzip -n > "$folder/tusrec.tar.gz"
"$(dirname "$0")/sbom.sh" "$name" "$folder/sbom.cdx.json"
cp THIRD_PARTY_LICENSES.md weights/manifest.json "$folder"
(cd "$folder" && sha256sum tusrec.tar.gz sbom.cdx.json manifest.json > SHA256SUMS)

version=$("$engine" run --rm --network none --entrypoint python "$name" -c \
  'import tusrec, torch; print(f"tusrec {tusrec.__version__}, torch {torch.__version__}")')
cat <<TEXT
$folder/tusrec.tar.gz
  size    $(stat -c %s "$folder/tusrec.tar.gz") bytes
  sha256  $(cut -d ' ' -f 1 < "$folder/SHA256SUMS" | head -n 1)

For the organisers' form:
  contents  $version, revision $(git rev-parse HEAD 2>/dev/null || echo unknown)
  load      docker load --input tusrec.tar.gz
  image     $name
  run       mkdir -p results && chmod a+rwx results
            docker container run --gpus all -it -v ./data:/home/TUS-REC2025/data \\
              -v ./results:/home/TUS-REC2025/results --rm $name
  function  from predict_ddfs import predict_ddfs, in /home/TUS-REC2025
  needs     no network, no rights, no writable root; an NVIDIA driver that suits its torch, or none
TEXT
