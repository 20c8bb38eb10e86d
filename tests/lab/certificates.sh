#!/bin/sh
# Makes the laboratory's certificates with openssl: an authority, and one each for the bridge, for Asterisk and for baresip.
# Safe to run again: what is in force for another week is kept.
#
#   tests/lab/certificates.sh     into $LAB_DIR/certificates (default: .lab/certificates)
set -eu
. "$(dirname "$0")/common.sh"

folder=$lab/certificates
names="bridge asterisk baresip"

good() {
    for name in authority $names; do
        openssl x509 -in "$folder/$name.pem" -noout -checkend 604800 >/dev/null 2>&1 || return 1
    done
}

issue() {
    name=$1
    openssl req -newkey rsa:2048 -nodes -keyout "$folder/$name.key" -out "$folder/$name.csr" -subj "/CN=$name.lab" 2>/dev/null
    printf 'subjectAltName=DNS:%s.lab,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$name" >"$folder/$name.ext"
    openssl x509 -req -in "$folder/$name.csr" -CA "$folder/authority.pem" -CAkey "$folder/authority.key" -CAcreateserial \
        -days 365 -extfile "$folder/$name.ext" -out "$folder/$name.pem" 2>/dev/null
    # baresip reads key and certificate from one file
    cat "$folder/$name.key" "$folder/$name.pem" >"$folder/$name.both.pem"
    rm "$folder/$name.csr" "$folder/$name.ext"
}

need openssl openssl
good && exit 0
say "making certificates in $folder"
rm -rf "$folder"
mkdir -p "$folder"
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -keyout "$folder/authority.key" -out "$folder/authority.pem" \
    -subj "/CN=Lab authority" -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
for name in $names; do
    issue "$name"
done
# Asterisk may run as another user
chmod 644 "$folder"/*
good || fail "openssl made no certificates: see $folder"
