#!/usr/bin/env python3
"""Runs the laboratory's Odoo (odoo.sh) and talks to it. Python's standard library only.

`up` prints KEY=VALUE lines when Odoo answers: DATABASE, LOGIN and KEY (also PASSWORD) of the bridge's user, OPERATOR_LOGIN and
OPERATOR_PASSWORD of a person with the rights of a clerk, and URL as the last one. It stays until it is killed. A run has PostgreSQL and Odoo
of its own on a copy of the template, all in memory that is gone with the process, also after SIGKILL. SIGUSR1 kills Odoo as a crash does
(prints ODOO=down), SIGUSR2 starts it again on the same port and data (prints ODOO=up).
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
LAB = pathlib.Path(os.environ.get("LAB_DIR", HERE.parent.parent / ".lab")).resolve()
LANE = f"-{os.environ['LAB_LANE']}" if os.environ.get("LAB_LANE") else ""
ROOT = LAB / "odoo-root"
# places as the chroot sees them, and as this program does
STATE = "/var/lib/kakehashi-lab"
RUN = f"{STATE}/run"
RUN_HERE = ROOT / RUN.lstrip("/")
TEMPLATE = ROOT / STATE.lstrip("/") / "template"
CLUSTER = f"{RUN}/cluster"
ADDONS = f"/usr/lib/python3/dist-packages/odoo/addons,{STATE}/addons/odoo/addons"
POSTGRES = "/usr/lib/postgresql/13/bin"
DATABASE = "kakehashi"
# Odoo's own default for a new database
ADMINISTRATOR = ("admin", "admin")


class LabError(Exception):
    """Something of the laboratory is missing or did not work; says what to do."""


# ---------------------------------------------------------------- processes


def private_places():
    """An empty folder in memory for this run, and the /proc that Odoo needs; in the mounts of this process only."""
    for folder, kind, options in ((RUN, "tmpfs", "mode=755"), ("/proc", "proc", "ro")):
        place = ROOT / folder.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", kind, "-o", options, kind, place], capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"mounting {place} failed ({done.stderr.strip()}): run it by tests/lab/odoo.sh, as root with the right to mount")


def inside(*command, dies_with="KILL"):
    """A command in the chroot as the user `odoo`; it gets the signal `dies_with` when this program ends."""
    return ["chroot", str(ROOT), "/usr/bin/setpriv", "--reuid=odoo", "--regid=odoo", "--clear-groups", f"--pdeathsig={dies_with}",
            "/usr/bin/env", "-i", f"HOME={RUN}", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", *command]


def options(*more):
    return [f"--database={DATABASE}", f"--db_host={RUN}", "--db_user=odoo", f"--addons-path={ADDONS}", f"--data-dir={RUN}/data",
            "--max-cron-threads=0", *more]


class Servers:
    """PostgreSQL, which is reached by a socket in the run's folder only, and Odoo."""

    def __init__(self, log):
        self.log = log
        self.postgres = self.odoo = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_odoo()
        self.stop_postgres()

    def start_postgres(self):
        with open(self.log, "ab") as log:
            self.postgres = subprocess.Popen(inside(f"{POSTGRES}/postgres", "-D", CLUSTER, dies_with="QUIT"), stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, start_new_session=True)
        self._wait(self.postgres, "PostgreSQL", self._accepts)

    def start_odoo(self, port):
        if not is_free(port):
            raise LabError(f"port {port} of 127.0.0.1 is taken: name another one, or none")
        given = options("--http-interface=127.0.0.1", f"--http-port={port}", "--workers=0", "--no-database-list")
        with open(self.log, "ab") as log:
            self.odoo = subprocess.Popen(inside("/usr/bin/odoo", *given), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         start_new_session=True)
        self._wait(self.odoo, "Odoo", lambda: answers(f"http://127.0.0.1:{port}"))

    def stop_odoo(self):
        if self.odoo:
            self.odoo.kill()
            self.odoo.wait()
        self.odoo = None

    def stop_postgres(self, how=signal.SIGQUIT):
        if self.postgres:
            self.postgres.send_signal(how)
            self.postgres.wait()
        self.postgres = None

    def check(self):
        """Raises when a server has ended by itself."""
        for process, name in ((self.postgres, "PostgreSQL"), (self.odoo, "Odoo")):
            if process and process.poll() is not None:
                raise LabError(f"{name} ended with {process.returncode}: see {self.log}")

    def _wait(self, process, name, ready):
        deadline = time.monotonic() + 120
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise LabError(f"{name} was not ready within 120 s: see {self.log}")
            time.sleep(0.1)

    @staticmethod
    def _accepts():
        return subprocess.run(inside(f"{POSTGRES}/pg_isready", "-q", "-h", RUN)).returncode == 0


# ---------------------------------------------------------------- commands


def up(port):
    if not TEMPLATE.exists():
        raise LabError(f"no {TEMPLATE}: run tests/lab/odoo.sh setup")
    private_places()
    subprocess.run(["cp", "-a", f"{TEMPLATE}/.", RUN_HERE], check=True)
    log = LAB / f"odoo{LANE}.log"
    log.write_bytes(b"")
    asked = []
    for wish in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(wish, lambda number, _: asked.append(number))
    with Servers(log) as servers:
        servers.start_postgres()
        port = port or free_port()
        servers.start_odoo(port)
        print((RUN_HERE / "keys").read_text() + f"URL=http://127.0.0.1:{port}", flush=True)
        while True:
            servers.check()
            while asked:
                servers.stop_odoo()
                if asked.pop(0) == signal.SIGUSR2:
                    servers.start_odoo(port)
                print("ODOO=up" if servers.odoo else "ODOO=down", flush=True)
            time.sleep(0.1)


def is_free(port):
    """Whether nobody listens there: Odoo itself would go on without its port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---------------------------------------------------------------- JSON-RPC


def rpc(url, service, method, *arguments):
    """One JSON-RPC call; returns its result, raises LabError with Odoo's message."""
    body = {"jsonrpc": "2.0", "method": "call", "id": 1, "params": {"service": service, "method": method, "args": arguments}}
    request = urllib.request.Request(f"{url}/jsonrpc", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        reply = json.load(answer)
    if "error" in reply:
        raise LabError(f"{service}.{method}: {reply['error']['data']['message']}")
    return reply["result"]


def call(url, model, method, arguments=(), keywords=None):
    """Any method of any model, as the administrator."""
    login, password = ADMINISTRATOR
    uid = rpc(url, "common", "authenticate", DATABASE, login, password, {})
    return rpc(url, "object", "execute_kw", DATABASE, uid, password, model, method, list(arguments), keywords or {})


def answers(url):
    """Whether Odoo has its database loaded and lets the administrator in."""
    try:
        return bool(rpc(url, "common", "authenticate", DATABASE, *ADMINISTRATOR, {}))
    except (OSError, ValueError, LabError):
        return False


# ---------------------------------------------------------------- program


def main():
    parser = argparse.ArgumentParser(description="The laboratory's Odoo.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="run Odoo until this program is killed")
    start.add_argument("port", nargs="?", type=int, help="on 127.0.0.1 (default: a free one)")
    partner = commands.add_parser("partner", help="add a contact")
    any_call = commands.add_parser("call", help="any call as the administrator")
    for command, names in ((partner, ("url", "name", "phone")), (any_call, ("url", "model", "method"))):
        for name in names:
            command.add_argument(name)
    partner.add_argument("mobile", nargs="?", default=False)
    any_call.add_argument("arguments", nargs="?", type=json.loads, default=[], help="JSON list")
    any_call.add_argument("keywords", nargs="?", type=json.loads, default={}, help="JSON object")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if asked.command == "up":
            up(asked.port)
        elif asked.command == "partner":
            values = {"name": asked.name, "phone": asked.phone, "mobile": asked.mobile}
            print(f"ID={call(asked.url, 'res.partner', 'create', [values])}")
        else:
            print(json.dumps(call(asked.url, asked.model, asked.method, asked.arguments, asked.keywords), ensure_ascii=False))
    except KeyboardInterrupt:
        pass
    except (LabError, urllib.error.URLError) as error:
        sys.exit(f"lab: error: {error}")


if __name__ == "__main__":
    main()
