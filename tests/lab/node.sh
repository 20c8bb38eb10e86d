#!/bin/sh
# Makes sure that Node.js is there with what other programs than ours bring for it, for tests/kintone_client and tests/schema_lab.rs.
# Installs with apt and npm what is missing.
# May run any number of times: what is there in the wanted version is kept. Prints the folder that holds node_modules as its last line.
set -eu
. "$(dirname "$0")/common.sh"

# kintone's own client for its REST API (MIT); the parser of the AsyncAPI initiative (Apache-2.0); a validator of JSON Schema and its formats (MIT)
node_packages="@kintone/rest-api-client@6.2.1 @asyncapi/parser@3.6.6 ajv@8.20.0 ajv-formats@3.0.1"

mkdir -p "$lab/node"
need node nodejs
if [ "$(cat "$lab/node/.node-packages" 2>/dev/null)" != "$node_packages" ]; then
    need npm npm
    say "installing $node_packages in $lab/node"
    rm -rf "$lab/node/node_modules"
    # a package of its own, so that npm looks for none further up; nothing that is installed may run anything
    echo '{"private": true}' >"$lab/node/package.json"
    # shellcheck disable=SC2086 # a list of names
    npm install --prefix "$lab/node" --ignore-scripts --no-audit --no-fund --no-package-lock $node_packages >"$lab/node.log" 2>&1 \
        || fail "npm install $node_packages failed: see $lab/node.log"
    echo "$node_packages" >"$lab/node/.node-packages"
fi
echo "$lab/node"
