#!/usr/bin/env bash
# The bill of materials and the licences of the packages in an image:
#   container/sbom.sh IMAGE SBOM.json [LICENSES.md]
# Needs the tools of container/requirements.txt, whose folder of commands is TOOLS. Licences are
# listed of a CUDA image alone: one for CPUs has only part of what the list must name.
set -euo pipefail
image=$1 sbom=$2 licences=${3:-}
engine=$(dirname "$0")/engine.sh

# The packages' records alone, in an environment of their own, tell the tools all they ask.
scratch=$(mktemp -d)
container=
clean_up() {
  if [ -n "$container" ]; then "$engine" rm "$container" > /dev/null; fi
  rm -rf "$scratch" "$sbom.part" "${licences:-$sbom}.part"
}
trap clean_up EXIT
"$TOOLS/python" -m venv --without-pip "$scratch/venv"
container=$("$engine" create "$image")
"$engine" export "$container" | tar -x -C "$scratch" --wildcards 'usr/local/lib/python3*/*.dist-info/*'
mv "$scratch"/usr/local/lib/python3*/*-packages/*.dist-info "$scratch"/venv/lib/python3*/site-packages

if [ -n "$licences" ] && compgen -G "$scratch/venv/lib/python3*/site-packages/torch-*+cpu.*" > /dev/null; then
  echo "error: $image: found a torch without CUDA, expected the default build; make image without" \
    "a CPU wheel in PIP_FIND_LINKS, or name another IMAGE=" >&2
  exit 2
fi
"$TOOLS/cyclonedx-py" environment --output-reproducible --mc-type application \
  --output-file "$sbom.part" "$scratch/venv"
if [ -n "$licences" ]; then
  {
    echo "# Licences of the packages in the image"
    echo
    echo "Made by \`make licences\` from $(basename "$image"). The base image adds Debian's packages"
    echo "and Python, whose licences are under \`/usr/share/doc\`."
    echo
    "$TOOLS/pip-licenses" --python "$scratch"/venv/bin/python --from=mixed --with-system \
      --with-urls --format=markdown
  } > "$licences.part"
  mv "$licences.part" "$licences"
fi
mv "$sbom.part" "$sbom"
