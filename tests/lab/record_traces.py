#!/usr/bin/env python3
"""Places the calls of the unit tests and records what ARI says of each into tests/data/ari/NAME.jsonl. Asterisk must run (lab.py up)."""

import subprocess
import sys
import time

import lab
import scenarios
from phone import PhoneError

OUT = lab.REPO / "tests" / "data" / "ari"


def queue_answered():
    phone = lab.agent("2001", ring_s=1)
    lab.caller("6001", talk_s=2).wait(15)
    phone.wait(15)


def queue_agent_hangs_up():
    phone = lab.agent("2001", ring_s=1, hangs_up=True, talk_s=2)
    lab.caller("6011", hangs_up=False).wait(15)
    phone.wait(15)


def queue_answered_elsewhere():
    phone = lab.agent("2001", ring_s=1)
    other = lab.agent("2002", only_rings=True)
    lab.caller("6002", talk_s=2).wait(15)
    phone.wait(15)
    other.wait(15)


def queue_local_channel():
    phone = lab.agent("2001", ring_s=1)
    lab.caller("6003", talk_s=2).wait(15)
    phone.wait(15)


def queue_caller_gives_up():
    phone = lab.agent("2001", only_rings=True)
    lab.caller("6001", gives_up_s=1.5).wait(15)
    phone.wait(15)


def direct_busy():
    phone = lab.agent("2001", refuses=486, ring_s=0.5)
    lab.caller("2001", refused=486).wait(15)
    phone.wait(15)


def direct_no_answer():
    phone = lab.agent("2001", only_rings=True)
    lab.caller("82001", refused=603).wait(15)
    phone.wait(15)


def direct_withheld():
    phone = lab.agent("2001", ring_s=0.5)
    lab.caller("2001", talk_s=1, who="anonymous@anonymous.invalid", display='"Anonymous"').wait(15)
    phone.wait(15)


def direct_privacy():
    phone = lab.agent("2001", ring_s=0.5)
    lab.caller("2001", talk_s=1, who="anonymous@anonymous.invalid", display='"Anonymous"',
               headers=["P-Asserted-Identity: <sip:0663621234@example.jp>", "Privacy: id"]).wait(15)
    phone.wait(15)


def bridge_line():
    phone = lab.agent("bridge", ring_s=0.5, port=lab.BRIDGE_SIP[1])
    lab.caller("7001", talk_s=1, who="0663621234@127.0.0.1").wait(15)
    phone.wait(15)


CALLS = [queue_answered, queue_agent_hangs_up, queue_answered_elsewhere, queue_local_channel, queue_caller_gives_up, direct_busy,
         direct_no_answer, direct_withheld, direct_privacy, bridge_line]


def scenario(function):
    """A scenario with short talk."""
    call = lambda: function(1)
    call.__name__ = function.__name__
    return call


CALLS += [scenario(function) for function in scenarios.SCENARIOS]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for call in CALLS:
        if sys.argv[1:] and call.__name__ not in sys.argv[1:]:
            continue
        with open(OUT / f"{call.__name__}.jsonl", "wb") as trace:
            recorder = subprocess.Popen([sys.executable, lab.HERE / "record_ari.py"], stdout=trace, start_new_session=True)
            time.sleep(0.7)
            try:
                call()
                print(call.__name__, "ok", flush=True)
            except (lab.LabError, PhoneError) as error:
                print(call.__name__, error, flush=True)
            time.sleep(0.7)
            lab.end(recorder)


if __name__ == "__main__":
    main()
