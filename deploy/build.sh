#!/usr/bin/env bash
# Builds the files of the image into a folder: both programs, and the libraries that its base lacks.
# The Dockerfile runs it; it runs as well without Docker: deploy/build.sh FOLDER
set -euo pipefail
[ $# = 1 ] || { echo "usage: deploy/build.sh FOLDER" >&2; exit 64; }
out=$1
cd "$(dirname "$0")/.."

cargo build --release --locked --package producer --package processors --bins
target=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out/usr/local/bin" "$out/usr/lib"
for program in producer processors; do
  install -m 0755 "$target/$program" "$out/usr/local/bin/$program"
  # The debug information stays with the build.
  strip --strip-debug "$out/usr/local/bin/$program"
done
# The tables by which clicks are enriched, and the folder of clicks that the broker has not got yet.
"$target/processors" rules fetch --rules "$out/usr/share/clicktrail/rules"
mkdir -p "$out/var/lib/clicktrail/outbox"
# `cc-debian12` brings glibc, libgcc, OpenSSL and certificates, but no zlib.
zlib=$(ldd "$target/producer" | awk '/libz\.so/ { print $3 }')
[ -z "$zlib" ] || install -m 0644 "$(readlink -f "$zlib")" "$out/usr/lib/libz.so.1"

# Nothing else may be needed, or the image would not start.
brought='linux-vdso|ld-linux|libc\.so|libm\.so|libgcc_s|libssl\.so\.3|libcrypto\.so\.3|libz\.so\.1'
for program in producer processors; do
  odd=$(ldd "$out/usr/local/bin/$program" | grep -vE "$brought" || true)
  [ -z "$odd" ] || { echo "$program needs what the image does not have: $odd" >&2; exit 1; }
done
