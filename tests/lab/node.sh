#!/bin/sh
# Makes sure that Node.js and kintone's own client for it are there, for tests/kintone_client.rs. Installs with apt and npm what is missing.
# May run any number of times: what is there in the wanted version is kept. Prints the folder that holds node_modules as its last line.
set -eu
. "$(dirname "$0")/common.sh"

# the service's own client for its REST API (MIT)
node_packages="@kintone/rest-api-client@6.2.1"

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
