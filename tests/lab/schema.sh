#!/bin/sh
# Makes sure that the public checkers of the OpenAPI document are there, for tests/schema_lab.rs, in a Python environment of their own.
# May run any number of times: what is there in the wanted version is kept. Prints the folder of its programs as its last line.
set -eu
. "$(dirname "$0")/common.sh"

# a validator of OpenAPI documents (Apache-2.0); a tester of APIs by their documents (MIT)
schema_packages="openapi-spec-validator==0.9.0 schemathesis==4.32.5"

mkdir -p "$lab"
if [ "$(cat "$lab/schema/.python-packages" 2>/dev/null)" != "$schema_packages" ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || host_package python3-venv
    say "installing $schema_packages in $lab/schema"
    {
        # shellcheck disable=SC2086 # a list of names
        python3 -m venv "$lab/schema" && "$lab/schema/bin/pip" install --disable-pip-version-check $schema_packages
    } >"$lab/schema.log" 2>&1 || fail "installing $schema_packages failed: see $lab/schema.log"
    echo "$schema_packages" >"$lab/schema/.python-packages"
fi
echo "$lab/schema/bin"
