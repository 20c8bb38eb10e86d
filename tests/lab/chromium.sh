#!/bin/sh
# Makes sure that Chromium, Node.js and a Japanese font are there for tests/lab/panel_shot.mjs; installs with apt what is missing.
# May run any number of times. Prints the path of the browser as its last line.
set -eu

find_browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return 0
    done
    return 1
}

missing=""
find_browser >/dev/null || missing="$missing chromium"
command -v node >/dev/null || missing="$missing nodejs"
if ! command -v fc-list >/dev/null; then
    missing="$missing fontconfig fonts-noto-cjk"
elif ! fc-list :lang=ja family | grep -q .; then
    missing="$missing fonts-noto-cjk"
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then sudo=""
    elif sudo -n true 2>/dev/null; then sudo="sudo -n"
    else
        echo "chromium.sh: missing:$missing; install them as root: apt-get install$missing" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq >&2
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $missing >&2
fi
find_browser
