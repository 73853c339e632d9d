#!/usr/bin/env bash
# Installs what is missing and Debian's package manager can give; names what is missing and it
# cannot. Quiet when everything is there. `./prerequisites.sh test` also installs what only tests use.
set -euo pipefail

declare -A package=([cc]=build-essential [make]=make [perl]=perl [pkg-config]=pkg-config
  [java]=default-jre-headless [mvn]=maven [npm]=npm [python3]=python3 [curl]=curl
  [strace]=strace [openssl]=openssl)
# Their packages start services; the tests start the programs themselves.
services=(prometheus prometheus-alertmanager)
if [ "${1:-}" = test ]; then
  for program in "${services[@]}"; do package[$program]=$program; done
  # The browser tests take either; this one is the smaller.
  command -v chromium >/dev/null || package[chromium-headless-shell]=chromium-headless-shell
fi
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
[ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# The font of the dashboards' pictures.
[ "${1:-}" != test ] || [ -e /usr/share/fonts/opentype/inter ] || missing+=(fonts-inter)

if [ ${#missing[@]} -gt 0 ]; then
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing ${missing[*]}"
    apt-get update -q >/dev/null
    for service in "${services[@]}"; do
      [[ " ${missing[*]} " == *" $service "* ]] || continue
      # A masked unit is neither enabled nor started, now and at the next boot.
      unit=/etc/systemd/system/$service.service
      [ -e "$unit" ] || { mkdir -p "${unit%/*}" && ln -sf /dev/null "$unit"; }
    done
    # invoke-rc.d starts nothing in runlevel 1, on a machine without systemd.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $install -q >/dev/null
  else
    echo "missing: ${missing[*]}; install with: sudo $install" >&2
    exit 69
  fi
fi
if ! command -v cargo >/dev/null; then
  echo "missing: cargo 1.95 or newer; install Rust with rustup (see https://rustup.rs)" >&2
  exit 69
fi
