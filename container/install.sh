#!/bin/sh
# Installs the locked packages in the image while it is built: install.sh WHEELS [BUILD [INDEX]]
# BUILD says which torch: cpu and cuda13 are locked by hash, wherever they come from: WHEELS, pip's
# own index or the package index INDEX; another one (cu126) is the same version from INDEX. Without
# BUILD it is the build found in WHEELS, or else cuda13.
set -eu
locks=$(dirname "$0")/locks wheels=$1 build=${2:-} index=${3:-}

install() {
    python -m pip install --no-cache-dir --root-user-action=ignore --disable-pip-version-check \
        --progress-bar=off --only-binary=:all: --find-links "$wheels" "$@"
}

found=$(find "$wheels" -name 'torch-*+*.whl' | sed -n '1s/.*+\([a-z0-9]*\)-.*/\1/p')
build=${build:-${found:-cuda13}}
echo "torch build: $build"
install --require-hashes -r "$locks/common.txt"
if [ -e "$locks/$build.txt" ]; then
    install ${index:+--extra-index-url "$index"} --require-hashes -r "$locks/$build.txt"
else
    version=$(sed -n 's/^torch==\([0-9.]*\) .*/\1/p' "$locks/cuda13.txt")
    install ${index:+--extra-index-url "$index"} "torch==$version+$build"
fi
python -m pip check

# C++ tests and headers of torch: 180 MB that only a compiler has a use for.
torch=$(python -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
rm -rf "$torch/test" "$torch/include" "$torch"/bin/test_* "$torch"/bin/*Test
