//! Who calls, by Asterisk's channel variables: withheld, late, diverted, with a token.

use super::*;

#[test]
fn a_number_that_is_withheld_is_never_told() {
    let mut anonymous = desk();
    anonymous.play(trace!("direct_withheld"));
    let mut private = desk();
    private.presentation = "prohib_not_screened";
    private.play(trace!("direct_privacy"));
    for desk in [anonymous, private] {
        let Some((_, Signal::CallAppeared { caller, .. })) = desk.signals.first() else { panic!("{:?}", desk.signals) };
        assert_eq!(
            (caller.number.as_ref(), caller.display.as_ref(), caller.withheld),
            (None, None, Some(Withheld::Refused))
        );
        assert!(!format!("{:?}", desk.signals).contains("0663621234"));
    }
}

#[test]
fn without_an_answer_about_presentation_the_call_appears_late_and_without_number() {
    let mut desk = desk();
    desk.refuse = |r| (value(r, "variable") == "CALLERID(num-pres)").then_some(Answer::Failed);
    let lines: Vec<&str> = trace!("queue_caller_gives_up").lines().collect();
    let ringing = lines.iter().position(|line| line.contains(r#""dialstatus":"RINGING""#)).unwrap();
    lines[..=ringing].iter().for_each(|line| desk.event(line));
    assert_eq!(desk.told(), [""; 0]);
    desk.pass(500);
    assert_eq!(desk.told(), ["call None>6001", "queued madoguchi", "A 2001 madoguchi", "A rings"]);
    assert!(
        desk.signals.iter().all(|(at, _)| *at < 100),
        "they keep the time at which they were seen: {:?}",
        desk.signals
    );
}

#[test]
fn a_diverted_call_appears_with_the_line_that_was_dialled_first() {
    let mut desk = desk();
    desk.refuse = |r| {
        let value = "cfnr;allowed_not_screened;allowed_not_screened;;0662011111";
        value_of_redirecting(r).then(|| ok(json!({ "value": value })))
    };
    desk.play(trace!("queue_caller_gives_up"));
    let appeared = desk.signals.iter().filter_map(|(_, signal)| match signal {
        Signal::CallAppeared { caller, .. } | Signal::CallerIdentified(caller) => caller.diverted.clone(),
        _ => None,
    });
    let first = Diverted { number: Some("0662011111".into()), reason: Some(DivertReason::NoAnswer) };
    assert_eq!(appeared.collect::<Vec<_>>(), [first], "told once");
}

#[test]
fn a_token_that_the_caller_brings_along_is_a_key_of_the_call() {
    let tokens = |answer: fn(&Request) -> Option<Answer>| {
        let settings = Settings { token_variable: "KAKEHASHI_TOKEN".into(), ..Settings::default() };
        let mut desk = Desk::new(settings, true);
        desk.refuse = answer;
        desk.play(trace!("queue_caller_gives_up"));
        let keys = desk.signals.iter().filter_map(|(_, signal)| match signal {
            Signal::CallAppeared { keys, .. } | Signal::Keys(keys) => Some(keys.clone()),
            _ => None,
        });
        let tokens = keys.flatten().filter(|key| key.kind == KeyKind::Token);
        tokens.map(|key| key.value).collect::<Vec<String>>()
    };
    fn asked(request: &Request) -> bool {
        value(request, "variable") == "KAKEHASHI_TOKEN"
    }
    assert_eq!(tokens(|r| asked(r).then(|| ok(json!({ "value": "web-17 " })))), ["web-17"]);
    assert!(tokens(|r| asked(r).then(|| ok(json!({ "value": "" })))).is_empty());
    assert!(tokens(|r| asked(r).then_some(Answer::Failed)).is_empty());
    assert!(
        !desk().requests.iter().any(|r| value(r, "variable") == "KAKEHASHI_TOKEN"),
        "not asked where none is wanted"
    );
}

fn value_of_redirecting(request: &Request) -> bool {
    value(request, "variable").contains("REDIRECTING")
}
