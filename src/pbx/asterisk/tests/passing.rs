//! What Asterisk 22 says of transfers, pick-up, parking and devices (tests/lab/scenarios.py), and what is told of it.

use super::*;

/// Plays a trace and compares everything that is told, but for the streams.
fn assert_told(trace: &str, expected: &[&str]) {
    let mut desk = desk();
    desk.play(trace);
    desk.pass(3_000);
    assert_eq!(desk.told_of_each(), expected);
    assert_eq!((desk.ari.calls(), desk.ari.streams()), (0, 0));
    desk.closed.sort();
    desk.opened.sort();
    assert_eq!(desk.closed, desk.opened, "every stream that was opened is closed, once");
}

/// Two people, three telephones: the second telephone of the first person answers.
#[test]
fn queue_person_two_devices() {
    assert_told(
        trace!("queue_person_two_devices"),
        &[
            "1: call 1001>6004",
            "1: queued hitobito",
            "1: A 2001 hitobito",
            "1: B 2101 hitobito",
            "1: C 2002 hitobito",
            "1: A rings",
            "1: B rings",
            "1: C rings",
            "1: B answered",
            "1: A ended AnsweredElsewhere",
            "1: C ended AnsweredElsewhere",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// A queue member behind a Local channel that rings two telephones of one person.
#[test]
fn queue_local_two_devices() {
    assert_told(
        trace!("queue_local_two_devices"),
        &[
            "1: call 1001>6006",
            "1: queued denwa2",
            "1: A 2001 denwa2",
            "1: B 2101 denwa2",
            "1: A rings",
            "1: B rings",
            "1: A answered",
            "1: B ended AnsweredElsewhere",
            "1: A joined",
            "1: A left",
            "1: A joined",
            "1: A left",
            "1: A ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The first member does not answer, nor the second; the first is rung again and answers.
#[test]
fn queue_one_after_the_other() {
    assert_told(
        trace!("queue_one_after_the_other"),
        &[
            "1: call 1001>6005",
            "1: queued junban",
            "1: A 2001 junban",
            "1: A rings",
            "1: A ended NoAnswer",
            "1: B 2002 junban",
            "1: B rings",
            "1: B ended NoAnswer",
            "1: C 2001 junban",
            "1: C rings",
            "1: C answered",
            "1: C joined",
            "1: C left",
            "1: C ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The queue is given up after 3 s; the next destination answers.
#[test]
fn queue_timeout_next() {
    assert_told(
        trace!("queue_timeout_next"),
        &[
            "1: call 1001>6007",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A ended NoAnswer",
            "1: B 3001 -",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Normal",
            "1: call ended Normal",
        ],
    );
}

/// The first member's telephone refuses (do not disturb), the second answers.
#[test]
fn queue_dnd() {
    assert_told(
        trace!("queue_dnd"),
        &[
            "1: call 1001>6005",
            "1: queued junban",
            "1: A 2001 junban",
            "1: A ended Busy",
            "1: B 2002 junban",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The agent's telephone sends REFER to the third tier.
#[test]
fn blind_refer() {
    assert_told(
        trace!("blind_refer"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 3001",
            "1: A left",
            "1: A ended Transferred",
            "1: B 3001 -",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The agent transfers by digits (#1).
#[test]
fn blind_digits() {
    assert_told(
        trace!("blind_digits"),
        &[
            "1: call 1001>92001",
            "1: A 2001 -",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: Agent #",
            "1: Agent 1",
            "1: A held",
            "1: Agent 3",
            "1: Agent 0",
            "1: Agent 0",
            "1: Agent 1",
            "1: A resumed",
            "1: A transferred Blind 3001",
            "1: A left",
            "1: A ended Transferred",
            "1: B 3001 -",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// Nobody answers at the third tier; the caller gives up.
#[test]
fn blind_unanswered() {
    assert_told(
        trace!("blind_unanswered"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 3001",
            "1: A left",
            "1: A ended Transferred",
            "1: B 3001 -",
            "1: B rings",
            "1: B ended Cancelled",
            "1: call ended Cancelled",
        ],
    );
}

/// The agent passes the call on to an outside number.
#[test]
fn blind_outside() {
    assert_told(
        trace!("blind_outside"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 0663621234",
            "1: A left",
            "1: B 0663621234 -",
            "1: A ended Transferred",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Normal",
            "1: call ended Normal",
        ],
    );
}

/// Hold, consultation with the third tier, REFER with Replaces.
#[test]
fn attended_refer() {
    assert_told(
        trace!("attended_refer"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A held",
            "2: call 2001>3001",
            "2: B 3001 -",
            "2: B rings",
            "2: B answered",
            "2: B joined",
            "1: A resumed",
            "2: B left",
            "1: A left",
            "1: A transferred Attended 3001",
            "2: linked Origin Attended",
            "2: B ended Transferred",
            "1: linked Consultation Attended",
            "1: B 3001 -",
            "1: B answered",
            "1: B joined",
            "1: A ended Transferred",
            "2: call ended Transferred",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// REFER with Replaces while the third tier still rings.
#[test]
fn attended_ringing() {
    assert_told(
        trace!("attended_ringing"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A held",
            "2: call 2001>3001",
            "2: B 3001 -",
            "2: B rings",
            "1: A resumed",
            "1: A transferred Attended 3001",
            "2: linked Origin Attended",
            "2: B ended Transferred",
            "1: linked Consultation Attended",
            "1: B 3001 -",
            "1: B rings",
            "1: A left",
            "1: A ended Transferred",
            "2: call ended Transferred",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// Hold, consultation, and back to the caller.
#[test]
fn consultation_cancelled() {
    assert_told(
        trace!("consultation_cancelled"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A held",
            "2: call 2001>3001",
            "2: B 3001 -",
            "2: B rings",
            "2: B answered",
            "2: B joined",
            "2: B left",
            "2: B ended Cancelled",
            "2: call ended Normal",
            "1: A resumed",
            "1: A left",
            "1: A ended Normal",
            "1: call ended Normal",
        ],
    );
}

/// Consultation and transfer by digits (*2, then hang-up).
#[test]
fn attended_digits() {
    assert_told(
        trace!("attended_digits"),
        &[
            "1: call 1001>92001",
            "1: A 2001 -",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: Agent *",
            "1: Agent 2",
            "1: A held",
            "1: Agent 3",
            "1: Agent 0",
            "1: Agent 0",
            "1: Agent 1",
            "1: A left",
            "1: B 3001 -",
            "1: B answered",
            "1: B joined",
            "1: A transferred Attended -",
            "1: A ended Transferred",
            "1: B left",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// Another agent picks up a ringing telephone.
#[test]
fn pickup_directed() {
    assert_told(
        trace!("pickup_directed"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A ended AnsweredElsewhere",
            "1: B 2002 madoguchi",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// Another agent of the group picks up a direct call.
#[test]
fn pickup_group() {
    assert_told(
        trace!("pickup_group"),
        &[
            "1: call 1001>2001",
            "1: A 2001 -",
            "1: A rings",
            "1: B 2002 -",
            "1: B answered",
            "1: A ended AnsweredElsewhere",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The agent parks the caller, another extension fetches her.
#[test]
fn parked_and_fetched() {
    assert_told(
        trace!("parked_and_fetched"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 700",
            "1: A left",
            "1: parked 701 by A",
            "1: A ended Parked",
            "1: B 3001 -",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The caller hangs up while parked.
#[test]
fn parked_and_abandoned() {
    assert_told(
        trace!("parked_and_abandoned"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 700",
            "1: A left",
            "1: parked 701 by A",
            "1: A ended Parked",
            "1: call ended Cancelled",
        ],
    );
}

/// The agent takes the caller into a conference, where the third tier already is.
#[test]
fn conference() {
    assert_told(
        trace!("conference"),
        &[
            "1: call 1001>6001",
            "1: queued madoguchi",
            "1: A 2001 madoguchi",
            "1: A rings",
            "1: A answered",
            "1: A joined",
            "1: A transferred Blind 8000",
            "1: A left",
            "1: A ended Transferred",
            "1: B 3001 -",
            "1: B answered",
            "1: B joined",
            "1: C 2001 -",
            "1: C answered",
            "1: C joined",
            "1: B left",
            "1: C left",
            "1: B ended Cancelled",
            "1: C ended Cancelled",
            "1: call ended Normal",
        ],
    );
}

/// The agent's telephone answers 302 to the third tier.
#[test]
fn forwarded() {
    assert_told(
        trace!("forwarded"),
        &[
            "1: call 1001>2001",
            "1: A 2001 -",
            "1: A ended Forwarded",
            "1: B 3001 -",
            "1: B rings",
            "1: B answered",
            "1: B joined",
            "1: B left",
            "1: B joined",
            "1: B left",
            "1: B ended Cancelled",
            "1: call ended Normal",
        ],
    );
}
