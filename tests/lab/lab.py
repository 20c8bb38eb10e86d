#!/usr/bin/env python3
"""Drives the laboratory: starts Asterisk in its root and places real calls with SIPp. Python's standard library only.

As a module:
    with lab.Asterisk() as asterisk:
        agent = lab.agent("2001", wav="samples/calls/call1.wav", channel=1, ring_s=2)
        caller = lab.caller("6001", wav="samples/calls/call1.wav", channel=0, talk_s=50)
        caller.wait(); agent.wait()
As a program (see --help): lab.py up | down | status | caller | callers | agent | call
"""

import argparse
import atexit
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import ulaw

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
LAB = pathlib.Path(os.environ.get("LAB_DIR", REPO / ".lab")).resolve()
ROOT = pathlib.Path(os.environ.get("ASTERISK_ROOT", LAB / "root")).resolve()
# several laboratories run beside each other, each in a network of its own (run.sh)
LANE = f"-{os.environ['LAB_LANE']}" if os.environ.get("LAB_LANE") else ""
SAMPLE = REPO / "samples" / "calls" / "call1.wav"

ARI_URL = "http://127.0.0.1:18088/ari"
ARI_USER, ARI_PASSWORD = "kakehashi", "lab-password"
ASTERISK_SIP = ("127.0.0.1", 15060)
BRIDGE_SIP = ("127.0.0.1", 15080)
AGENT_PORTS = {"2001": 15201, "2002": 15202, "2003": 15203, "2101": 15211, "2102": 15212, "3001": 15301, "3002": 15302, "outside": 15401}
# SIP ports of several callers at once
CALLERS_FROM = 15110
ETC, STATE = "/etc/kakehashi-lab", "/var/lib/kakehashi-lab"
# exchanges that lack something, beside the whole one: every port is higher by this much
SHIFT = 10_000
VARIANTS = ("plain", "no-ari")


class LabError(Exception):
    """Something of the laboratory is missing or did not work; says what to do."""


# ---------------------------------------------------------------- Asterisk


class Asterisk:
    """Asterisk in the laboratory's root, in the foreground of a child process; stopped at the end of the `with` block."""

    def __init__(self, folder=None, variant=None):
        self.variant = variant
        self.suffix = (f"-{variant}" if variant else "") + LANE
        self.folder = pathlib.Path(folder or LAB / f"asterisk{self.suffix}")
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Writes the configuration, starts Asterisk and waits until ARI answers."""
        if not (ROOT / "usr/sbin/asterisk").exists():
            raise LabError(f"no usr/sbin/asterisk below {ROOT}: run tests/lab/setup.sh")
        if not self.variant and answers(ARI_URL):
            raise LabError(f"something answers at {ARI_URL} already: stop it (tests/lab/lab.py down)")
        etc = self._configure()
        command = ["/usr/sbin/asterisk", "-f", "-p", "-C", f"{etc}/asterisk.conf"]
        if ROOT != pathlib.Path("/"):
            command = ["chroot", str(ROOT), *command]
        self.folder.mkdir(parents=True, exist_ok=True)
        log = open(self.folder / "console.log", "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                        preexec_fn=before_others)
        (self.folder / "pid").write_text(str(self.process.pid))
        deadline = time.monotonic() + 60
        while not self._ready():
            if self.process.poll() is not None:
                raise LabError(f"Asterisk ended with {self.process.returncode}: see {self.folder}/console.log")
            if time.monotonic() > deadline:
                self.stop()
                raise LabError(f"ARI did not answer within 60 s: see {self.folder}/console.log and {STATE}/log below {ROOT}")
            time.sleep(0.2)

    def stop(self):
        """Ends Asterisk (SIGTERM, then SIGKILL after 10 s)."""
        if self.process is None:
            return
        end(self.process)
        self.process = None
        (self.folder / "pid").unlink(missing_ok=True)

    def kill(self):
        """Kills Asterisk at once, as a crash does."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def cli(self, line):
        """Runs one line of Asterisk's console and returns what it prints."""
        etc = self._etc()
        command = ["/usr/sbin/asterisk", "-C", f"{etc}/asterisk.conf", "-rx", line]
        if ROOT != pathlib.Path("/"):
            command = ["chroot", str(ROOT), *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout

    def _etc(self):
        return ETC + self.suffix if ROOT != pathlib.Path("/") else str(LAB / f"etc{self.suffix}")

    def _configure(self):
        outside = ROOT != pathlib.Path("/")
        etc, state = self._etc(), STATE + self.suffix if outside else str(LAB / f"state{self.suffix}")
        place = (lambda path: ROOT / path.lstrip("/")) if outside else pathlib.Path
        modules = next(ROOT.glob("usr/lib/**/asterisk/modules"), None)
        if modules is None:
            raise LabError(f"no asterisk/modules below {ROOT}/usr/lib: install asterisk-modules")
        fill = {
            "@ETC@": etc,
            "@STATE@": state,
            "@DATA@": "/usr/share/asterisk",
            "@MODULES@": "/" + str(modules.relative_to(ROOT)),
        }
        place(etc).mkdir(parents=True, exist_ok=True)
        for source in (HERE / "asterisk").glob("*.conf"):
            text = source.read_text()
            for key, value in fill.items():
                text = text.replace(key, value)
            (place(etc) / source.name).write_text(vary(self.variant, source.name, text))
        for name in ("authority.pem", "asterisk.pem", "asterisk.key"):
            source = LAB / "certificates" / name
            if not source.exists():
                raise LabError(f"no {source}: run tests/lab/certificates.sh")
            shutil.copy(source, place(etc) / name)
        # indications, codecs and the like as the package has them
        for source in (ROOT / "etc/asterisk").glob("*.conf"):
            if source.name in ("indications.conf", "codecs.conf", "acl.conf", "stasis.conf"):
                shutil.copy(source, place(etc) / source.name)
        for folder in ("lib", "spool", "run", "log"):
            (place(state) / folder).mkdir(parents=True, exist_ok=True)
        return etc

    def _ready(self):
        if self.variant:
            return "fully booted" in self.cli("core waitfullybooted")
        try:
            return bool(ari("GET", "/asterisk/info?only=system")) and "2001" in json.dumps(ari("GET", "/endpoints/PJSIP"))
        except (OSError, ValueError):
            return False


def vary(variant, name, text):
    """One configuration file as a variant has it: `plain` without TLS and SRTP, `no-ari` with ARI off. Ports are shifted."""
    if not variant:
        return text
    text = re.sub(r"\b(?:15[012]\d\d|18088|21\d\d\d)\b", lambda port: str(int(port[0]) + SHIFT), text)
    if variant == "plain" and name == "pjsip.conf":
        text = re.sub(r"(?m)^\[(?:tls|bridge-tls)\][^\[]*", "", text)
    if variant == "plain" and name == "modules.conf":
        text += "noload = res_srtp.so\n"
    if variant == "no-ari" and name == "ari.conf":
        text = text.replace("enabled = yes", "enabled = no")
    return text


def ari(method, path, password=ARI_PASSWORD, **query):
    """One ARI request; returns the decoded body, raises urllib.error.HTTPError for a refusal."""
    url = ARI_URL + path
    if query:
        url += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
    request = urllib.request.Request(url, method=method)
    token = base64.b64encode(f"{ARI_USER}:{password}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def answers(url):
    """Whether anything listens there."""
    parts = urllib.parse.urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((parts.hostname, parts.port)) == 0


def before_others():
    """Peers run before everything else on the machine, as they would on their own: a late packet there is not the bridge's fault."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    except OSError:
        pass


def end(process, seconds=10):
    """Ends a child that this program started, by its own process group."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        pass


# ---------------------------------------------------------------- telephones


class Telephone:
    """One SIPp process that makes or takes one call."""

    def __init__(self, name, scenario, arguments, raw=None):
        self.name = name
        self.raw = raw
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_runs()))
        (self.folder / "scenario.xml").write_text(scenario)
        command = ["sipp", *arguments, "-sf", "scenario.xml", "-m", "1", "-nostdin", "-i", "127.0.0.1", "-mi", "127.0.0.1",
                   "-trace_err", "-trace_msg", "-error_file", "errors.txt", "-message_file", "messages.txt"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=before_others, stdout=open(self.folder / "screen.txt", "wb"), stderr=subprocess.STDOUT)
        atexit.register(self.stop)

    def wait(self, seconds=180):
        """Waits until the call is over; raises when it did not go as the scenario says."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise LabError(f"{self.name}: not over after {seconds} s: see {self.folder}") from None
        if code != 0:
            raise LabError(f"{self.name}: SIPp ended with {code}: see {self.folder}")

    def stop(self):
        """Ends the process, in whatever state the call is."""
        end(self.process, 3)


def caller(to, wav=SAMPLE, channel=0, who="1001@127.0.0.1", display="", talk_s=None, hangs_up=True, gives_up_s=None, refused=None,
           lead_ms=0, codec="PCMU", headers=(), target=ASTERISK_SIP, port=15101):
    """Calls extension `to` and plays one channel of `wav` once the call is answered.

    who         user@host of From: another number than an endpoint's name comes in by the exchange line
    display     display name of From, for example '"Anonymous"'
    talk_s      seconds from the answer to the hang-up (default: length of the sound and 1 s)
    hangs_up    who ends the call: this side after talk_s, or the other side
    gives_up_s  seconds of ringing after which the caller gives up (no answer expected)
    refused     final response that is expected instead of an answer, for example 486
    lead_ms     silence before the sound
    headers     further SIP header lines, for example 'Privacy: id'
    target      where the INVITE goes: Asterisk, or the bridge itself (BRIDGE_SIP)
    """
    raw = sound(wav, channel, lead_ms, codec, tail_s=120)
    talk_s = talk_s if talk_s is not None else ulaw.seconds(wav) + lead_ms / 1000 + 1
    if gives_up_s is not None:
        steps = ["caller-gives-up"]
        talk_s = gives_up_s
    elif refused is not None:
        steps = ["caller-refused"]
    else:
        steps = ["caller-talk", "caller-hangs-up" if hangs_up else "waits-for-bye"]
    optional = ' optional="true"' if gives_up_s is None else ""
    text = _fill((HERE / "sipp/caller.xml").read_text(), steps, codec, {
        "@PROVISIONAL@": f'  <recv response="180"{optional} />\n' + ('  <recv response="183" optional="true" />\n' if optional else ""),
        "@FILE@": raw, "@WHO@": who, "@DISPLAY@": (display + " ") if display else "", "@CODE@": refused,
        "@EXTRA@": "".join("\n" + line for line in headers), "@TALK_MS@": int(talk_s * 1000),
    })
    arguments = [f"{target[0]}:{target[1]}", "-s", to, "-p", str(port)]
    if gives_up_s is not None:
        arguments += ["-default_behaviors", "all,-abortunexp"]
    return Telephone(f"caller-{to}", text, arguments, raw)


def agent(who="2001", wav=SAMPLE, channel=1, ring_s=2.0, talk_s=None, hangs_up=False, refuses=None, only_rings=False, lead_ms=0,
          codec="PCMU", port=None):
    """An agent's telephone that takes one call: rings `ring_s` seconds, answers, plays one channel of `wav`.

    hangs_up    this side ends the call after talk_s; else the other side
    refuses     final response instead of an answer, for example 486 or 603
    only_rings  never answers: the caller or the queue must give up
    """
    raw = sound(wav, channel, lead_ms, codec, tail_s=120)
    talk_s = talk_s if talk_s is not None else ulaw.seconds(wav) + lead_ms / 1000 + 1
    if only_rings:
        steps = ["agent-only-rings"]
    elif refuses is not None:
        steps = ["agent-refuses"]
    else:
        steps = ["agent-talk", "agent-hangs-up" if hangs_up else "waits-for-bye"]
    text = _fill((HERE / "sipp/agent.xml").read_text(), steps, codec, {
        "@FILE@": raw, "@RING_MS@": int(ring_s * 1000), "@TALK_MS@": int(talk_s * 1000), "@CODE@": refuses,
    })
    port = port or AGENT_PORTS[who]
    telephone = Telephone(f"agent-{who}", text, ["-p", str(port)], raw)
    _listening(port, telephone)
    return telephone


def sound(wav, channel, lead_ms=0, codec="PCMU", tail_s=0):
    """One channel of an 8 kHz WAV file as a raw G.711 file for SIPp, with silence before and after; returns its path."""
    target = _runs() / f"{pathlib.Path(wav).stem}-{channel}-{lead_ms}-{tail_s}.{codec.lower()}"
    if not target.exists():
        data = ulaw.from_wav(wav, channel, codec)
        silence = ulaw.silence(codec)
        part = target.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(silence * (8 * lead_ms) + data + silence * (8000 * tail_s))
        part.rename(target)
    return target


def _fill(text, steps, codec, values):
    parts = dict(part.split("\n", 1) for part in (HERE / "sipp/parts.txt").read_text().split("== ")[1:])
    text = text.replace("@ANSWER@", "".join(parts[step] for step in steps))
    values = {**values, "@PAYLOAD@": 0 if codec == "PCMU" else 8, "@CODEC@": codec, "@TIMEOUT_MS@": 600_000}
    for key, value in values.items():
        text = text.replace(key, str(value))
    return text


def _runs():
    folder = LAB / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _listening(port, telephone):
    """Waits until the telephone has bound its SIP port, so that no INVITE is lost."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if telephone.process.poll() is not None:
            raise LabError(f"{telephone.name}: SIPp did not start: see {telephone.folder}")
        with open("/proc/net/udp", encoding="ascii") as table:
            if any(line.split()[1].endswith(f":{port:04X}") for line in table.readlines()[1:]):
                return
        time.sleep(0.02)
    raise LabError(f"{telephone.name}: nothing listens on port {port} after 10 s")


# ---------------------------------------------------------------- program


def main():
    parser = argparse.ArgumentParser(description="The laboratory: Asterisk and telephones.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start Asterisk and stay until Ctrl-C")
    up.add_argument("--variant", choices=VARIANTS, help="without TLS and SRTP, or without ARI; ports are higher by 10000")
    commands.add_parser("down", help="stop an Asterisk that 'up' left behind")
    commands.add_parser("status", help="what Asterisk shows of itself")
    commands.add_parser("hangup", help="end every call, also those whose telephones are gone")
    for name, function in (("caller", "call an extension"), ("agent", "take one call")):
        sub = commands.add_parser(name, help=function)
        sub.add_argument("number", help="extension to call" if name == "caller" else "2001, 2002 or 2003")
        sub.add_argument("--wav", default=SAMPLE)
        sub.add_argument("--channel", type=int, default=0 if name == "caller" else 1)
        sub.add_argument("--talk-s", type=float)
        sub.add_argument("--codec", default="PCMU", choices=["PCMU", "PCMA"])
        sub.add_argument("--lead-ms", type=int, default=0)
        if name == "caller":
            sub.add_argument("--who", default="1001@127.0.0.1", help="user@host of From")
            sub.add_argument("--display", default="")
            sub.add_argument("--waits", action="store_true", help="the other side hangs up")
            sub.add_argument("--gives-up-s", type=float)
            sub.add_argument("--header", action="append", default=[], help="a further line of the INVITE, for example 'Privacy: id'")
            sub.add_argument("--bridge", action="store_true", help="call the bridge itself, without Asterisk")
        else:
            sub.add_argument("--ring-s", type=float, default=2.0)
            sub.add_argument("--hangs-up", action="store_true")
            sub.add_argument("--refuses", type=int)
            sub.add_argument("--only-rings", action="store_true")
    several = commands.add_parser("callers", help="several calls at once, each with its own sound")
    several.add_argument("calls", nargs="+", metavar="NUMBER=WAV")
    several.add_argument("--talk-s", type=float)
    call = commands.add_parser("call", help="one whole call: caller, extension, agent 2001")
    call.add_argument("extension", nargs="?", default="6001")
    call.add_argument("--wav", default=SAMPLE)
    call.add_argument("--talk-s", type=float)
    call.add_argument("--ring-s", type=float, default=2.0)
    call.add_argument("--who", default="1001@127.0.0.1", help="user@host of the caller's From")
    call.add_argument("--swapped", action="store_true", help="the caller plays the agent's channel and the agent the caller's")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments)
    except LabError as error:
        sys.exit(f"lab: error: {error}")


def run(arguments):
    if arguments.command == "up":
        with Asterisk(variant=arguments.variant) as asterisk:
            port = ASTERISK_SIP[1] + (SHIFT if arguments.variant else 0)
            print(f"Asterisk runs: ARI {ARI_URL}, SIP {ASTERISK_SIP[0]}:{port}. Ctrl-C stops it.", flush=True)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            try:
                asterisk.process.wait()
            except KeyboardInterrupt:
                pass
    elif arguments.command == "down":
        pid_file = LAB / f"asterisk{LANE}" / "pid"
        if pid_file.exists():
            try:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            except ProcessLookupError:
                pass
            pid_file.unlink()
    elif arguments.command == "status":
        print(json.dumps(ari("GET", "/asterisk/info"), indent=1, ensure_ascii=False))
    elif arguments.command == "hangup":
        for channel in ari("GET", "/channels"):
            try:
                ari("DELETE", f"/channels/{channel['id']}")
            except urllib.error.HTTPError:
                pass  # it is gone by itself
    elif arguments.command == "caller":
        caller(arguments.number, arguments.wav, arguments.channel, arguments.who, arguments.display, arguments.talk_s, not arguments.waits,
               arguments.gives_up_s, lead_ms=arguments.lead_ms, codec=arguments.codec, headers=arguments.header,
               target=BRIDGE_SIP if arguments.bridge else ASTERISK_SIP).wait(900)
    elif arguments.command == "callers":
        calls = [call.split("=", 1) for call in arguments.calls]
        phones = [caller(number, wav, talk_s=arguments.talk_s, port=CALLERS_FROM + at) for at, (number, wav) in enumerate(calls)]
        for phone in phones:
            phone.wait(900)
    elif arguments.command == "agent":
        agent(arguments.number, arguments.wav, arguments.channel, arguments.ring_s, arguments.talk_s, arguments.hangs_up, arguments.refuses,
              arguments.only_rings, arguments.lead_ms, arguments.codec).wait(900)
    else:
        callers, agents = (1, 0) if arguments.swapped else (0, 1)
        phone = agent("2001", arguments.wav, agents, arguments.ring_s)
        caller(arguments.extension, arguments.wav, callers, arguments.who, talk_s=arguments.talk_s).wait(900)
        phone.wait(30)


if __name__ == "__main__":
    main()
