#!/usr/bin/env bash
# The image without Docker, as far as it goes: the committed files in a clean folder, the build as in
# the Dockerfile, and both programs in a root that holds nothing but the image's own files and the
# libraries of its base. Needs a release build's time: ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src" "$folder/image"
git archive HEAD | tar -x -C "$folder/src"
CARGO_TARGET_DIR=$folder/target "$folder/src/deploy/build.sh" "$folder/image"

for program in producer processors; do
  for library in $(ldd "$folder/image/usr/local/bin/$program" | grep -oE '/[^ ]+'); do
    mkdir -p "$folder/image$(dirname "$library")"
    cp -Ln "$library" "$folder/image$library"
  done
  # An unprivileged user, where that can be had: the image never has more.
  chroot --userspec=65532:65532 "$folder/image" "/usr/local/bin/$program" --version
done
du -sh "$folder/image/usr/local/bin"
echo "rehearsal: the image's steps work from a clean checkout"
