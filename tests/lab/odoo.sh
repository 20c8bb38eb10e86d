#!/bin/sh
# A real CRM for the laboratory: Odoo 14 with the OCA module crm_phonecall, from Debian bullseye, in a chroot below .lab/. Needs root.
#
#   tests/lab/odoo.sh setup                              makes the chroot and the database; safe to run again
#   tests/lab/odoo.sh up [PORT]                          runs Odoo on a fresh copy of the database until it is killed; see odoo.py
#   tests/lab/odoo.sh partner URL NAME PHONE [MOBILE]    adds a contact, prints ID=…
#   tests/lab/odoo.sh call URL MODEL METHOD [ARGUMENTS [KEYWORDS]]    any call as the administrator (JSON in, JSON out)
#
# LAB_DIR, LAB_MIRROR  as in setup.sh; the mirror must still have bullseye (once archived: an archive of Debian's old releases)
set -eu
here=$(dirname "$0")
. "$here/common.sh"

odoo_root=$lab/odoo-root
packages="odoo-14 postgresql python3-phonenumbers"
addon=odoo14-addon-crm-phonecall==14.0.1.1.0
state=$odoo_root/var/lib/kakehashi-lab

# Keeps the chroot small: no printing, no compiler for queries, no manuals, no language but Japanese.
prepare() {
    [ ! -e "$odoo_root/.prepared" ] || return 0
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
        'path-exclude=/usr/lib/python3/dist-packages/odoo/addons/*/i18n/*' \
        'path-include=/usr/lib/python3/dist-packages/odoo/addons/*/i18n/ja.po' >"$odoo_root/etc/dpkg/dpkg.cfg.d/90lab"
    mkdir -p "$odoo_root/etc/postgresql-common" "$odoo_root/tmp/without/DEBIAN"
    echo 'create_main_cluster = false' >"$odoo_root/etc/postgresql-common/createcluster.conf"
    printf '%s\n' 'Package: kakehashi-lab-without' 'Version: 1' 'Architecture: all' 'Maintainer: laboratory <lab@localhost>' \
        'Provides: wkhtmltopdf, libllvm11 (= 1:11)' 'Description: stands in for what the laboratory does not use' \
        >"$odoo_root/tmp/without/DEBIAN/control"
    {
        in_root "$odoo_root" dpkg-deb -b /tmp/without /tmp/without.deb
        in_root "$odoo_root" dpkg -i /tmp/without.deb
    } >"$lab/odoo-root-prepare.log" 2>&1 || fail "preparing the chroot failed: see $lab/odoo-root-prepare.log"
    touch "$odoo_root/.prepared"
}

add_on() {
    [ "$(cat "$state/addons/.done" 2>/dev/null)" != "$addon" ] || return 0
    if [ ! -x "$lab/venv/bin/pip" ]; then
        python3 -c 'import venv, ensurepip' 2>/dev/null || host_package python3-venv
        python3 -m venv "$lab/venv"
    fi
    say "installing $addon"
    rm -rf "$state/addons"
    # the packages that it names are Odoo itself
    "$lab/venv/bin/pip" install --disable-pip-version-check --no-deps --no-compile --target "$state/addons" "$addon" >"$lab/odoo-addon.log" 2>&1 \
        || fail "installing $addon failed: see $lab/odoo-addon.log"
    echo "$addon" >"$state/addons/.done"
}

database() {
    made_of=$(cat "$here/odoo_template.py" "$here/odoo_contents.py" "$state/addons/.done" "$odoo_root/.packages-done" | cksum)
    [ "$(cat "$state/template/.made-of" 2>/dev/null)" != "$made_of" ] || return 0
    say "making Odoo's database"
    unshare --mount --ipc python3 "$here/odoo_template.py" "$made_of"
}

case ${1:-} in
    setup)
        [ "$(id -u)" = 0 ] || fail "the chroot needs root: run 'sudo tests/lab/odoo.sh setup'"
        mkdir -p "$lab"
        exec 9>"$lab/odoo.lock"
        flock 9
        make_root "$odoo_root" bullseye
        prepare
        packages_in "$odoo_root" "$packages"
        add_on
        database
        versions | grep '^odoo:'
        ;;
    # names of its own for mounts and shared memory: what a killed run had is gone with it
    up) exec unshare --mount --ipc python3 "$here/odoo.py" "$@" ;;
    partner | call) exec python3 "$here/odoo.py" "$@" ;;
    *) fail "odoo.sh setup | up | partner | call: see the head of $0" ;;
esac
