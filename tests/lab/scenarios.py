#!/usr/bin/env python3
"""What happens to calls after they were answered (and some that never are), with real telephones at Asterisk.

    tests/lab/scenarios.py NAME [--talk-s 3]     Asterisk must run (lab.py up); --list names them

Each is a function of the seconds that people talk between two steps. tests/lab/record_traces.py records them; tests/transfer_lab.rs plays them
to the whole bridge.
"""

import argparse
import contextlib
import sys
import time

import lab
from phone import Phone, PhoneError

CALL2 = lab.REPO / "samples" / "calls" / "call2.wav"
# what each telephone plays
CALLER = (lab.SAMPLE, 0)
SOUNDS = {"2001": (lab.SAMPLE, 1), "2101": (lab.SAMPLE, 1), "2002": (CALL2, 0), "2102": (CALL2, 0), "3001": (CALL2, 1), "3002": (CALL2, 0), "outside": (CALL2, 1)}


@contextlib.contextmanager
def telephones(*users):
    """A caller and these telephones, in this order."""
    with contextlib.ExitStack() as stack:
        caller = stack.enter_context(Phone("1001", 15101, lab.sound(*CALLER)))
        rest = [stack.enter_context(Phone(user, lab.AGENT_PORTS[user], lab.sound(*SOUNDS[user]))) for user in users]
        yield (caller, *rest)


def takes(telephone, ring_s=0.3):
    """The telephone rings and is answered."""
    call = telephone.incoming()
    call.ring()
    time.sleep(ring_s)
    call.answer()
    return call


def connected(caller, agent, number="6001"):
    """A call from the caller to an agent, answered."""
    out = caller.call(number)
    at_agent = takes(agent)
    out.answered()
    return out, at_agent


def direct_media(talk):
    """Two telephones whose sound goes from one to the other as soon as the exchange has told them of each other."""
    with Phone("1004", 15101, lab.sound(*CALLER)) as caller, Phone("2003", lab.AGENT_PORTS["2003"], lab.sound(lab.SAMPLE, 1)) as agent:
        out, at_agent = connected(caller, agent, "2003")
        time.sleep(talk)
        out.hang_up()
        at_agent.over()


def rings(telephone):
    call = telephone.incoming()
    call.ring()
    return call


# ---- queues, people and devices


def queue_person_two_devices(talk):
    """Two people, three telephones: the second telephone of the first person answers."""
    with telephones("2001", "2101", "2002") as (caller, desk, home, other):
        out = caller.call("6004")
        first, second, third = rings(desk), rings(home), rings(other)
        time.sleep(0.5)
        second.answer()
        out.answered()
        first.over(), third.over()
        time.sleep(talk)
        out.hang_up()
        second.over()


def queue_two_people_two_devices(talk):
    """Two people, four telephones: the second telephone of the second person answers."""
    with telephones("2001", "2101", "2002", "2102") as (caller, *phones):
        out = caller.call("6008")
        *others, answering = [rings(phone) for phone in phones]
        time.sleep(0.5)
        answering.answer()
        out.answered()
        for other in others:
            other.over()
        time.sleep(talk)
        out.hang_up()
        answering.over()


def queue_local_two_devices(talk):
    """A queue member behind a Local channel that rings two telephones of one person."""
    with telephones("2001", "2101") as (caller, desk, home):
        out = caller.call("6006")
        first, second = rings(desk), rings(home)
        time.sleep(0.3)
        first.answer()
        out.answered()
        second.over()
        time.sleep(talk)
        out.hang_up()
        first.over()


def queue_one_after_the_other(talk):
    """The first member does not answer, nor the second; the first is rung again and answers."""
    with telephones("2001", "2002") as (caller, one, two):
        out = caller.call("6005")
        rings(one).over()
        rings(two).over()
        again = takes(one)
        out.answered()
        time.sleep(talk)
        out.hang_up()
        again.over()


def queue_timeout_next(talk):
    """The queue is given up after 3 s; the next destination answers."""
    with telephones("2001", "3001") as (caller, agent, third):
        out = caller.call("6007")
        rings(agent).over()
        at_third = takes(third)
        out.answered()
        time.sleep(talk)
        at_third.hang_up()
        out.over()


def queue_dnd(talk):
    """The first member's telephone refuses (do not disturb), the second answers."""
    with telephones("2001", "2002") as (caller, one, two):
        out = caller.call("6005")
        one.incoming().refuse(486)
        at_two = takes(two)
        out.answered()
        time.sleep(talk)
        out.hang_up()
        at_two.over()


# ---- transfers


def blind_refer(talk):
    """The agent's telephone sends REFER to the third tier."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.refer("3001")
        at_third = takes(third, 0.5)
        at_agent.hang_up()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


def blind_digits(talk):
    """The agent transfers by digits (#1)."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent, "92001")
        time.sleep(talk)
        at_agent.digits("#1")
        time.sleep(1)
        at_agent.digits("3001")
        at_third = takes(third)
        at_agent.over()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


def blind_unanswered(talk):
    """Nobody answers at the third tier; the caller gives up."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.refer("3001")
        at_third = rings(third)
        at_agent.hang_up()
        time.sleep(1)
        out.hang_up()
        at_third.over()


def blind_outside(talk):
    """The agent passes the call on to an outside number."""
    with telephones("2001", "outside") as (caller, agent, outside):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.refer("0663621234")
        at_outside = takes(outside)
        at_agent.hang_up()
        time.sleep(talk)
        at_outside.hang_up()
        out.over()


def attended_refer(talk):
    """Hold, consultation with the third tier, REFER with Replaces."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.hold()
        asks = agent.call("3001")
        at_third = takes(third)
        asks.answered()
        time.sleep(talk)
        at_agent.refer("3001", replaces=asks)
        asks.over()
        at_agent.hang_up()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


def attended_ringing(talk):
    """REFER with Replaces while the third tier still rings."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.hold()
        asks = agent.call("3001")
        at_third = rings(third)
        asks.rings()
        at_agent.refer("3001", replaces=asks)
        asks.over()
        at_agent.hang_up()
        at_third.answer()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


def consultation_cancelled(talk):
    """Hold, consultation, and back to the caller."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        at_agent.hold()
        asks = agent.call("3001")
        at_third = takes(third)
        asks.answered()
        time.sleep(talk)
        asks.hang_up()
        at_third.over()
        at_agent.hold(False)
        time.sleep(talk)
        at_agent.hang_up()
        out.over()


def attended_digits(talk):
    """Consultation and transfer by digits (*2, then hang-up)."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent, "92001")
        at_agent.digits("*2")
        time.sleep(1)
        at_agent.digits("3001")
        at_third = takes(third)
        time.sleep(talk)
        at_agent.hang_up()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


# ---- pick-up, parking, conference, forwarding


def pickup_directed(talk):
    """Another agent picks up a ringing telephone."""
    with telephones("2001", "2002") as (caller, agent, other):
        out = caller.call("6001")
        ringing = rings(agent)
        time.sleep(0.3)
        picks = other.call("*82001")
        picks.answered()
        out.answered()
        ringing.over()
        time.sleep(talk)
        out.hang_up()
        picks.over()


def pickup_group(talk):
    """Another agent of the group picks up a direct call."""
    with telephones("2001", "2002") as (caller, agent, other):
        out = caller.call("2001")
        ringing = rings(agent)
        time.sleep(0.3)
        picks = other.call("*8")
        picks.answered()
        out.answered()
        ringing.over()
        time.sleep(talk)
        out.hang_up()
        picks.over()


def parked_and_fetched(talk):
    """The agent parks the caller, another extension fetches her."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        at_agent.refer("700")
        at_agent.hang_up()
        time.sleep(1)
        fetches = third.call("701")
        fetches.answered()
        time.sleep(talk)
        out.hang_up()
        fetches.over()


def parked_and_abandoned(talk):
    """The caller hangs up while parked."""
    with telephones("2001") as (caller, agent):
        out, at_agent = connected(caller, agent)
        at_agent.refer("700")
        at_agent.hang_up()
        time.sleep(1)
        out.hang_up()


def conference(talk):
    """The agent takes the caller into a conference, where the third tier already is."""
    with telephones("2001", "3001") as (caller, agent, third):
        out, at_agent = connected(caller, agent)
        time.sleep(talk)
        sits = third.call("8000")
        sits.answered()
        at_agent.refer("8000")
        at_agent.hang_up()
        joins = agent.call("8000")
        joins.answered()
        time.sleep(talk)
        out.hang_up()
        time.sleep(0.3)
        joins.hang_up()
        sits.hang_up()


def forwarded(talk):
    """The agent's telephone answers 302 to the third tier."""
    with telephones("2001", "3001") as (caller, agent, third):
        out = caller.call("2001")
        agent.incoming().refuse(302, "3001")
        at_third = takes(third)
        out.answered()
        time.sleep(talk)
        out.hang_up()
        at_third.over()


# ---- hold


def held_by_agent(talk):
    """The agent puts the caller on hold, comes back, and the caller hangs up."""
    with telephones("2001") as (caller, first):
        out, call = connected(caller, first)
        time.sleep(talk)
        call.hold()
        time.sleep(talk)
        call.hold(False)
        time.sleep(talk)
        out.hang_up()
        call.over()


def held_by_caller(talk):
    """A telephone calls the bridge's own line, puts it on hold while it goes on making sound, and comes back."""
    with telephones() as (caller,):
        out = caller.call("7004").answered()
        time.sleep(talk)
        out.hold(quiet=False)
        time.sleep(talk)
        out.hold(False)
        time.sleep(talk)
        out.hang_up()


SCENARIOS = [held_by_agent, held_by_caller, queue_person_two_devices, queue_two_people_two_devices, queue_local_two_devices, queue_one_after_the_other, queue_timeout_next, queue_dnd, blind_refer,
             blind_digits, blind_unanswered, blind_outside, attended_refer, attended_ringing, consultation_cancelled, attended_digits,
             pickup_directed, pickup_group, parked_and_fetched, parked_and_abandoned, conference, forwarded]
# what ARI has nothing to say of
MORE = [direct_media]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--talk-s", type=float, default=3)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{scenario.__name__:26} {scenario.__doc__}" for scenario in SCENARIOS + MORE))
        return
    chosen = [scenario for scenario in SCENARIOS + MORE if scenario.__name__ == arguments.name]
    if not chosen:
        sys.exit(f"lab: error: no scenario {arguments.name!r}: see --list")
    try:
        chosen[0](arguments.talk_s)
    except (lab.LabError, PhoneError) as error:
        sys.exit(f"lab: error: {arguments.name}: {error}")


if __name__ == "__main__":
    main()
