#!/usr/bin/env python3
"""Makes the database that every run of the laboratory's Odoo starts from (odoo.sh setup): the modules, Japanese, the users of odoo_contents.py.

Kept are the stopped PostgreSQL cluster, Odoo's files and the users' keys; the work is done in memory, so that a killed run leaves nothing.
"""

import json
import shutil
import signal
import subprocess
import sys
import urllib.request

import odoo

MODULES = "crm,phone_validation,crm_phonecall,contacts"
LOG = odoo.LAB / "odoo-template.log"
CONFIGURATION = f"""
listen_addresses = ''
unix_socket_directories = '{odoo.RUN}'
# a run's data is thrown away: nothing has to reach a disk
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
jit = off
max_wal_size = 32MB
"""


def make(made_of):
    """`made_of` says what the database is made of; it is kept beside it."""
    odoo.private_places()
    LOG.write_bytes(b"")
    shutil.chown(odoo.RUN_HERE, *owner())
    do(f"{odoo.POSTGRES}/initdb", "-D", odoo.CLUSTER, "-U", "odoo", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "--wal-segsize=1")
    with open(odoo.RUN_HERE / "cluster/postgresql.conf", "a", encoding="ascii") as conf:
        conf.write(CONFIGURATION)
    with odoo.Servers(LOG) as servers:
        servers.start_postgres()
        do("/usr/bin/odoo", *odoo.options(f"--init={MODULES}", "--without-demo=all", "--load-language=ja_JP", "--stop-after-init", "--no-http"))
        contents = (odoo.HERE / "odoo_contents.py").read_bytes()
        keys = do("/usr/bin/odoo", "shell", *odoo.options("--no-http", "--log-level=warn"), given=contents)
        if "OPERATOR_PASSWORD=" not in keys:
            raise odoo.LabError(f"odoo_contents.py did not make the users: see {LOG}")
        port = odoo.free_port()
        servers.start_odoo(port)
        open_pages(f"http://127.0.0.1:{port}", dict(line.split("=", 1) for line in keys.splitlines()))
        servers.stop_odoo()
        servers.stop_postgres(signal.SIGINT)
    (odoo.RUN_HERE / "keys").write_text(f"DATABASE={odoo.DATABASE}\n{keys}")
    (odoo.RUN_HERE / ".made-of").write_text(made_of)
    keep()


def open_pages(url, keys):
    """Lets Odoo build the files of its pages (seconds of work) now, instead of at the first page of every run."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    browser.open(f"{url}/web/login").read()
    login = {"params": {"db": odoo.DATABASE, "login": keys["OPERATOR_LOGIN"], "password": keys["OPERATOR_PASSWORD"]}}
    body = json.dumps(login).encode()
    browser.open(urllib.request.Request(f"{url}/web/session/authenticate", body, {"Content-Type": "application/json"})).read()
    browser.open(f"{url}/web").read()


def keep():
    """Puts the run's folder in the place of the template, whole or not at all."""
    new = odoo.TEMPLATE.with_name("template.new")
    shutil.rmtree(new, ignore_errors=True)
    subprocess.run(["cp", "-a", odoo.RUN_HERE, new], check=True)
    shutil.rmtree(odoo.TEMPLATE, ignore_errors=True)
    new.rename(odoo.TEMPLATE)


def do(*command, given=None):
    """Runs a command in the chroot to its end and returns what it prints."""
    with open(LOG, "ab") as errors:
        done = subprocess.run(odoo.inside(*command), input=given, stdout=subprocess.PIPE, stderr=errors)
    if done.returncode != 0:
        raise odoo.LabError(f"{command[0]} ended with {done.returncode}: see {LOG}")
    return done.stdout.decode()


def owner():
    """User and group `odoo` of the chroot."""
    lines = (odoo.ROOT / "etc/passwd").read_text().splitlines()
    fields = next(line.split(":") for line in lines if line.startswith("odoo:"))
    return int(fields[2]), int(fields[3])


if __name__ == "__main__":
    try:
        make(sys.argv[1])
    except odoo.LabError as error:
        sys.exit(f"lab: error: {error}")
