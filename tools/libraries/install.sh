#!/usr/bin/env bash
# Installs the popular libraries that tests freeze in mid-use, and prints the directory to import them from.
# It lies outside the repository, by what is required and by Python's version, so that it is made once.
set -euo pipefail

python=$(command -v "${1:-python3}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$(dirname "$0")"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wanted=$(sha256sum requirements.txt | cut -c 1-16)
directory="${XDG_CACHE_HOME:-$HOME/.cache}/sojourn/libraries/$wanted-$version"

if [ ! -d "$directory" ]; then
  echo "installing the libraries that tests freeze (about 900 MB), once ..." >&2
  mkdir -p "$(dirname "$directory")"
  fresh=$(mktemp -d "$directory.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  "$python" -m pip install --quiet --disable-pip-version-check --target "$fresh" --requirement requirements.txt >&2
  chmod 755 "$fresh"
  mv "$fresh" "$directory"
fi
echo "$directory"
