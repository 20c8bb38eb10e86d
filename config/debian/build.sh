#!/usr/bin/env bash
# Builds the Debian package (`make deb`): one binary, the laboratory's model, the documents, a systemd unit. It installs without a network.
# usage: config/debian/build.sh [BINARY]     an existing binary instead of a release build; prints the package's path
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "deb: error: $*" >&2; exit 1; }
for tool in dpkg-deb:dpkg strip:binutils objdump:binutils; do
    command -v "${tool%%:*}" >/dev/null 2>&1 || fail "${tool%%:*} is missing. Run: sudo apt-get install ${tool#*:}"
done
binary=${1:-}
if [ -z "$binary" ]; then
    cargo build --release --quiet
    binary=${CARGO_TARGET_DIR:-target}/release/kakehashi
fi
[ -x "$binary" ] || fail "$binary: no program; expected one that \`cargo build\` made"

version=$("$binary" --version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
out=${CARGO_TARGET_DIR:-target}/debian
tree=$out/tree
rm -rf "$tree"
put() { # put MODE FILE PLACE
    install -D -m "$1" "$2" "$tree/$3"
}
put 0755 "$binary" usr/bin/kakehashi
strip --strip-unneeded "$tree/usr/bin/kakehashi"
put 0644 config/debian/kakehashi.service usr/lib/systemd/system/kakehashi.service
put 0640 config/debian/kakehashi.toml etc/kakehashi/kakehashi.toml
put 0644 config/kakehashi.toml usr/share/kakehashi/kakehashi.toml
for file in models/*.bin models/*.toml models/README.md; do put 0644 "$file" "usr/share/kakehashi/$file"; done
for file in directory contacts dictionary; do put 0644 "samples/$file.csv" "usr/share/kakehashi/samples/$file.csv"; done
for file in README.md README.ja.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do put 0644 "$file" "usr/share/doc/kakehashi/$file"; done
(cd docs && find . \( -name '*.md' -o -name '*.json' \) -printf '%P\n') | while read -r file; do put 0644 "docs/$file" "usr/share/doc/kakehashi/docs/$file"; done
printf 'Upstream-Name: kakehashi\nLicense: MIT OR Apache-2.0\nThe texts of both stand beside this file.\n' >"$out/copyright"
put 0644 "$out/copyright" usr/share/doc/kakehashi/copyright

# the oldest C libraries that have what the program asks for
needs() { objdump -T "$tree/usr/bin/kakehashi" | grep -o "$1_[0-9.]*" | sed "s/$1_//" | sort -uV | tail -n 1; }
mkdir -p "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: kakehashi
Version: $version
Architecture: $arch
Maintainer: Kakehashi <kakehashi@localhost>
Section: comm
Priority: optional
Depends: libc6 (>= $(needs GLIBC)), libgcc-s1, libstdc++6, passwd
Recommends: ca-certificates
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Description: bridge from a telephone exchange to a CRM
 Kakehashi takes call events and sound from an IP-PBX (Asterisk, SIP, SIPREC, web
 calls), streams the sound into speech recognition that knows the municipality's
 own words, and pushes screen pops and transcripts to the CRM without losing one.
CONTROL
echo /etc/kakehashi/kakehashi.toml >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "config/debian/$script" "$tree/DEBIAN/$script"; done
package=$out/kakehashi_${version}_$arch.deb
# the same sources make the same package
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)} \
    dpkg-deb --root-owner-group --build "$tree" "$package" >&2
echo "$package"
