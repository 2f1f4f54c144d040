#!/usr/bin/env bash
# Builds the criu that freezes processes and prints where it is. A built one is only printed.
# It lies outside the repository, by its version, so that every clone and every CI run has it after the first.
# The source is that of Debian's package, from the mirror that apt uses, known by its hash; Debian 13 has it as a package.
set -euo pipefail
cd "$(dirname "$0")"

version=4.1.1
hash=f80a66cb3726bb2116266d4759ce3bcbfab7abdb6b6d430bf20dd41911717afe
packages="gcc make libprotobuf-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler python3-protobuf libnl-3-dev
  libcap-dev libnet1-dev libaio-dev libbsd-dev uuid-dev libgnutls28-dev pkg-config"
program="${XDG_CACHE_HOME:-$HOME/.cache}/sojourn/criu/$version/criu"

if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi

fail() {
  echo "make criu: $*" >&2
  exit 2
}

command -v apt-get >/dev/null || fail "it needs apt; install criu 4.1 or later from your system's packages instead"
missing=$(for each in $packages; do dpkg-query -W -f '${Status}' "$each" 2>/dev/null | grep -q "ok installed" || echo "$each"; done)
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "packages are missing: sudo apt-get install --no-install-recommends" $missing
  install="env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
  $install $missing >/dev/null 2>&1 || { apt-get update -q >/dev/null && $install $missing >/dev/null; }
fi
# With it criu refuses to run with another real user than effective one, as it is run inside sandboxes.
if pkg-config --exists libnftables; then
  fail "libnftables-dev is installed, and a criu that is built with it does not run in sandboxes: apt-get remove libnftables-dev"
fi

echo "building criu $version ..." >&2
mkdir -p "$(dirname "$program")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source="$work/criu.tar.xz"
for site in $(apt-get indextargets --format '$(SITE)' | sort -u); do
  /usr/lib/apt/apt-helper download-file "$site/pool/main/c/criu/criu_$version.orig.tar.xz" "$source" "SHA256:$hash" \
    >/dev/null 2>&1 && break
done
echo "$hash  $source" | sha256sum --check --status || fail "no mirror of apt's has the source of criu $version, or another one"
tar --extract --file "$source" --directory "$work"
patch --quiet --strip 1 --directory "$work/criu-$version" <kernel-6.16.patch
make --silent --directory "$work/criu-$version" -j "$(nproc)" criu >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
! ldd "$work/criu-$version/criu/criu" | grep -q libnftables || fail "it was built with libnftables"
install -m 755 "$work/criu-$version/criu/criu" "$program.$$"
mv "$program.$$" "$program"
echo "$program"
