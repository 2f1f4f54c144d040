#!/usr/bin/env bash
# Builds the Nomad that go.mod requires and prints where it is. A built one is only printed.
# It lies outside the repository, by its version, so that every clone and every CI run has it after the first.
set -euo pipefail
cd "$(dirname "$0")"

least=1.25.8
version=$(sed -n 's|^\tgithub.com/hashicorp/nomad v||p' go.mod)
program="${XDG_CACHE_HOME:-$HOME/.cache}/sojourn/nomad/$version/nomad"

if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi

found=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
if [ -z "$found" ] || [ "$(printf '%s\n' "$least" "$found" | sort --version-sort | head -n 1)" != "$least" ]; then
  echo "make nomad: Go $least or later builds Nomad and is not here (${found:-there is none}): install it from https://go.dev/dl," \
    "or HashiCorp's release $version from https://developer.hashicorp.com/nomad/install, on PATH or named by SOJOURN_NOMAD_BIN" >&2
  exit 2
fi

echo "building Nomad $version, which takes some minutes the first time ..." >&2
mkdir -p "$(dirname "$program")"
fresh=$(mktemp "$program.XXXXXX")
trap 'rm -f "$fresh"' EXIT
# `ui` is the web interface; HashiCorp builds its release with both tags.
go build -tags "ui hashicorpmetrics" -ldflags "-s -w" -o "$fresh" github.com/hashicorp/nomad
chmod 755 "$fresh"
mv "$fresh" "$program"
echo "$program"
