//! Web calls in virtual time: tokens, sessions, losses and who speaks.

use super::*;
use crate::pbx::web::request::{Reply, Request};
use crate::pbx::{Identity, PbxId};
use crate::time::Wall;

const CHROMIUM: &str = include_str!("../../../../tests/data/web/chromium_two_tracks.sdp");

fn at(millis: u64) -> Now {
    Now { mono: Mono(millis * 1_000_000), wall: Wall(i64::try_from(millis).unwrap() * 1_000) }
}

fn calls() -> Calls {
    let limits =
        Settings { token_ms: 60_000, grace_ms: 30_000, connect_ms: 15_000, silence_ms: 20_000, ..Settings::default() };
    Calls::new(limits, [1; 32])
}

fn new_call() -> Ask {
    let caller = Identity { number: Some("09012345678".into()), ..Identity::default() };
    Ask {
        target: Target::New { pbx: PbxId("web".into()), caller, called: "0662011111".into() },
        extension: "2001".into(),
        tracks: vec![Speaker::Agent, Speaker::Caller],
    }
}

fn post(calls: &mut Calls, now: Now, token: &str, offer: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    let request = Request {
        method: "POST",
        path: "/whip",
        authorization: Some(authorization.as_bytes()),
        content_type: Some(b"application/sdp"),
        body: Some(offer.as_bytes()),
        ..Request::default()
    };
    calls.handle(now, [192, 0, 2, 9].into(), &request)
}

fn local() -> Local {
    let ice = Credentials { fragment: "ours".into(), password: "p".repeat(24) };
    Local { ice, fingerprint: "AA".into(), candidates: Vec::new() }
}

/// An offer that is taken and answered.
fn running(calls: &mut Calls, now: Now, token: &str, offer: &str) -> SessionId {
    let Reply::Negotiate(asked) = post(calls, now, token, offer) else { panic!("it is refused") };
    let answer = calls.negotiated(now, &Request::default(), asked.session, Ok(&local()));
    assert_eq!(answer.status, 201);
    asked.session
}

/// The names of the signals, and of other wishes, so far.
fn told(calls: &mut Calls) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = calls.poll_output() {
        let text = match output {
            Output::Signal(observed) => match observed.signal {
                Signal::StreamAdded { speaker, .. } => format!("StreamAdded {speaker:?}"),
                Signal::LegEnded(_, cause) => format!("LegEnded {cause:?}"),
                Signal::CallEnded(cause) => format!("CallEnded {cause:?}"),
                other => format!("{other:?}").split([' ', '(', '{']).next().unwrap_or_default().to_string(),
            },
            Output::Open { track, .. } => format!("Open {track}"),
            Output::Close(_) => "Close".into(),
            Output::Drop(_, why) => format!("Drop {why:?}"),
        };
        all.push(text);
    }
    all
}

fn status(reply: &Reply) -> u16 {
    match reply {
        Reply::Done(response) => response.status,
        other => panic!("not answered at once: {other:?}"),
    }
}

#[test]
fn a_call_rings_with_its_token_is_answered_when_it_connects_and_ends_with_delete() {
    let mut calls = calls();
    let issued = calls.issue(at(0), new_call()).unwrap();
    assert_eq!(told(&mut calls), ["CallAppeared", "LegAppeared", "LegRinging"]);
    let id = running(&mut calls, at(1_000), &issued.token, CHROMIUM);
    assert_eq!(told(&mut calls), Vec::<String>::new());
    calls.connected(at(1_500), id);
    calls.connected(at(1_600), id);
    assert_eq!(told(&mut calls), ["Open 0", "Open 1", "LegAnswered", "StreamAdded Agent", "StreamAdded Caller"]);
    calls.ended(at(9_000), id, Why::HungUp);
    let end =
        ["Drop HungUp", "StreamRemoved", "StreamRemoved", "Close", "Close", "LegEnded Normal", "CallEnded Normal"];
    assert_eq!(told(&mut calls), end);
    assert_eq!(status(&post(&mut calls, at(9_001), &issued.token, CHROMIUM)), 401);
    assert_eq!((calls.due(), calls.running()), (None, 0));
}

#[test]
fn a_token_that_nobody_uses_expires_and_nobody_answered() {
    let mut calls = calls();
    let issued = calls.issue(at(0), new_call()).unwrap();
    assert_eq!(issued.expires, at(60_000).wall);
    told(&mut calls);
    assert_eq!(calls.due(), Some(at(60_000).mono));
    calls.handle_timeout(at(59_999));
    assert_eq!(told(&mut calls), Vec::<String>::new());
    calls.handle_timeout(at(60_000));
    assert_eq!(told(&mut calls), ["LegEnded NoAnswer", "CallEnded NoAnswer"]);
    assert_eq!(status(&post(&mut calls, at(60_001), &issued.token, CHROMIUM)), 401);
}

#[test]
fn a_lost_call_comes_back_with_its_token_within_the_grace_and_not_later() {
    let mut calls = calls();
    let issued = calls.issue(at(0), new_call()).unwrap();
    let id = running(&mut calls, at(0), &issued.token, CHROMIUM);
    calls.connected(at(100), id);
    calls.heard(at(5_000), id);
    told(&mut calls);
    assert_eq!(status(&post(&mut calls, at(10_000), &issued.token, CHROMIUM)), 409, "it is not lost yet");
    calls.handle_timeout(at(24_999));
    assert_eq!(told(&mut calls), Vec::<String>::new());
    calls.handle_timeout(at(25_000));
    assert_eq!(told(&mut calls), ["Drop Silence", "StreamRemoved", "StreamRemoved", "Close", "Close"]);
    let again = running(&mut calls, at(54_000), &issued.token, CHROMIUM);
    calls.connected(at(54_100), again);
    assert_eq!(told(&mut calls)[..3], ["Open 0", "Open 1", "LegAnswered"], "on the same leg");
    calls.ended(at(60_000), again, Why::Consent);
    calls.handle_timeout(at(89_999));
    told(&mut calls);
    calls.handle_timeout(at(90_000));
    assert_eq!(told(&mut calls), ["LegEnded LostSight", "CallEnded LostSight"]);
    assert_eq!(status(&post(&mut calls, at(90_001), &issued.token, CHROMIUM)), 401);
}

#[test]
fn a_call_that_does_not_connect_says_why_and_may_try_until_the_token_expires() {
    let mut calls = calls();
    let issued = calls.issue(at(0), new_call()).unwrap();
    running(&mut calls, at(0), &issued.token, CHROMIUM);
    told(&mut calls);
    calls.handle_timeout(at(15_000));
    assert_eq!(told(&mut calls), ["Drop NoConnection", "StreamFailed", "StreamFailed"]);
    let Reply::Negotiate(asked) = post(&mut calls, at(16_000), &issued.token, CHROMIUM) else { panic!("it may") };
    let refused = calls.negotiated(at(16_001), &Request::default(), asked.session, Err(Why::Panic));
    assert_eq!(refused.status, 503);
    assert_eq!(told(&mut calls), ["Drop Panic", "StreamFailed", "StreamFailed"]);
    let again = running(&mut calls, at(20_000), &issued.token, CHROMIUM);
    calls.ended(at(21_000), again, Why::Consent);
    assert_eq!(told(&mut calls)[0], "Drop Handshake");
    calls.handle_timeout(at(60_000));
    assert_eq!(told(&mut calls), ["LegEnded Failed", "CallEnded Failed"]);
}

#[test]
fn an_answer_that_comes_after_the_end_of_its_session_is_none() {
    let mut calls = calls();
    let issued = calls.issue(at(0), new_call()).unwrap();
    let Reply::Negotiate(asked) = post(&mut calls, at(0), &issued.token, CHROMIUM) else { panic!("it may") };
    calls.handle_timeout(at(15_000));
    assert!(!calls.knows(asked.session));
    assert_eq!(calls.negotiated(at(15_001), &Request::default(), asked.session, Ok(&local())).status, 503);
}

#[test]
fn a_running_contact_gets_streams_on_the_leg_that_is_there_and_does_not_end_with_the_web_call() {
    let mut calls = calls();
    let call = CallKey { pbx: PbxId("asterisk".into()), key: "1.1".into() };
    let leg = Some(LegKey("chan".into()));
    let target = Target::Running { call: call.clone(), called: "0662011111".into(), leg };
    let issued = calls.issue(at(0), Ask { target, ..new_call() }).unwrap();
    assert_eq!(issued.call, call);
    assert_eq!(told(&mut calls), ["Keys"]);
    let id = running(&mut calls, at(0), &issued.token, CHROMIUM);
    calls.connected(at(0), id);
    calls.ended(at(9_000), id, Why::HungUp);
    let all = told(&mut calls);
    assert!(all.contains(&"StreamAdded Caller".to_string()), "{all:?}");
    assert!(!all.iter().any(|signal| signal.starts_with("LegEnded") || signal.starts_with("CallEnded")), "{all:?}");
    let target = Target::Running { call, called: "0662011111".into(), leg: None };
    let issued = calls.issue(at(10_000), Ask { target, ..new_call() }).unwrap();
    assert_eq!(told(&mut calls), ["Keys", "LegAppeared", "LegRinging"], "a leg of its own");
    let id = running(&mut calls, at(10_000), &issued.token, CHROMIUM);
    calls.ended(at(11_000), id, Why::HungUp);
    assert_eq!(told(&mut calls).last().unwrap(), "LegEnded Normal");
}

#[test]
fn who_speaks_is_said_by_the_token_unless_the_streams_have_names() {
    let heard = |tracks: Vec<Speaker>, offer: &str| -> Vec<String> {
        let mut calls = calls();
        let issued = calls.issue(at(0), Ask { tracks, ..new_call() }).unwrap();
        let id = running(&mut calls, at(0), &issued.token, offer);
        told(&mut calls);
        calls.connected(at(0), id);
        told(&mut calls).into_iter().filter(|signal| signal.starts_with("StreamAdded")).collect()
    };
    let (agent, caller) = ("StreamAdded Agent".to_string(), "StreamAdded Caller".to_string());
    let both = vec![Speaker::Agent, Speaker::Caller];
    assert_eq!(heard(both.clone(), CHROMIUM), [agent.clone(), caller.clone()]);
    assert_eq!(heard(vec![Speaker::Caller, Speaker::Agent], CHROMIUM), [caller.clone(), agent.clone()]);
    let offer = Offer::read(CHROMIUM.as_bytes(), 2).unwrap();
    let streams: Vec<String> = offer.audio().filter_map(|(_, audio)| audio.stream.clone()).collect();
    let named = CHROMIUM
        .replace(&format!("msid:{}", streams[0]), "msid:caller")
        .replace(&format!("msid:{}", streams[1]), "msid:agent");
    assert_eq!(heard(both.clone(), &named), [caller.clone(), agent.clone()]);
    let same = named.replace("msid:agent", "msid:caller");
    assert_eq!(heard(both, &same), [agent, caller.clone()], "names that do not fit say nothing");
    let second = CHROMIUM.rfind("m=audio").unwrap();
    let one = CHROMIUM[..second].replace("BUNDLE 0 1", "BUNDLE 0");
    assert_eq!(heard(vec![Speaker::Caller], &one), [caller]);
}

#[test]
fn a_session_is_no_longer_than_the_longest_call_and_tokens_are_bounded() {
    let mut calls = Calls::new(Settings { max_tokens: 2, max_call_ms: 60_000, ..Settings::default() }, [1; 32]);
    let issued = calls.issue(at(0), new_call()).unwrap();
    assert!(calls.issue(at(0), new_call()).is_ok());
    assert_eq!(calls.issue(at(0), new_call()), Err(Refused::Full));
    let wrong = Ask { tracks: vec![Speaker::Agent; 2], ..new_call() };
    assert_eq!(calls.issue(at(0), wrong), Err(Refused::Tracks));
    let id = running(&mut calls, at(0), &issued.token, CHROMIUM);
    calls.connected(at(0), id);
    for second in 0..60 {
        calls.heard(at(second * 1_000), id);
    }
    told(&mut calls);
    calls.handle_timeout(at(60_000));
    assert!(told(&mut calls).ends_with(&["LegEnded Failed".into(), "CallEnded Failed".into()]));
}
