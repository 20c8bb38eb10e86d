#!/bin/sh
# Runs whisper.cpp's own program (`whisper-cli`, or the one that WHISPER_PROGRAM names: `whisper-server`) from the laboratory's root on this
# machine's files, for comparison.
#
#   tests/lab/whisper_cli.sh -m MODEL -f FILE …
#
# Arguments that name an existing file or a file in an existing folder are passed on as seen from inside the root: by a bind mount in
# a private mount namespace where the kernel allows that, else by a copy (results are then copied back). Needs root.
# Set up first: tests/lab/setup.sh --root
set -eu
. "$(dirname "$0")/common.sh"

program=${WHISPER_PROGRAM:-whisper-cli}
[ -x "$root/usr/bin/$program" ] || fail "no $program below $root: run tests/lab/setup.sh --root"
[ "$(id -u)" = 0 ] || fail "chroot needs root: run this script as root"
[ "$root" != / ] || exec "$program" "$@"

# Prints one argument as seen from inside, single-quoted for eval; "$1" is the prefix of this machine's files.
inside() {
    prefix=$1 argument=$2
    case $argument in
        -*) path= ;;
        */*) if [ -e "$argument" ] || [ -d "$(dirname "$argument")" ]; then path=$argument; else path=; fi ;;
        *) if [ -e "$argument" ]; then path=$argument; else path=; fi ;;
    esac
    if [ -n "$path" ]; then
        argument=$prefix$(cd "$(dirname "$path")" && pwd)/$(basename "$path")
    fi
    printf " '%s'" "$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")"
}

if unshare -m true 2>/dev/null; then
    mkdir -p "$root/host"
    line=
    for argument in "$@"; do line="$line$(inside /host "$argument")"; done
    eval "set -- $line"
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare -m sh -c 'root=$1 program=$2; shift 2; mount --make-rprivate / 2>/dev/null; mount --rbind / "$root/host" && exec chroot "$root" "/usr/bin/$program" "$@"' sh "$root" "$program" "$@"
fi

# No mount namespaces here: copy what is named, run, bring back what is new.
work=$(mktemp -d "$root/tmp/whisper.XXXXXX")
trap 'rm -rf "$work"' EXIT
stage=/tmp/$(basename "$work")
line=
for argument in "$@"; do
    quoted=$(inside "$stage" "$argument")
    line="$line$quoted"
    case $quoted in
        " '$stage/"*) folder=$(cd "$(dirname "$argument")" && pwd); mkdir -p "$work$folder"; if [ -f "$argument" ]; then cp "$argument" "$work$folder/"; fi ;;
    esac
done
eval "set -- $line"
touch "$work/.start"
status=0
chroot "$root" "/usr/bin/$program" "$@" || status=$?
(cd "$work" && find . -type f -newer .start | while read -r made; do cp "$made" "/${made#./}"; done)
exit "$status"
