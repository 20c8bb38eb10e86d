//! What is known before the call and what goes along with a caller who is passed on, in virtual time.

use uuid::Uuid;

use super::*;
use crate::call::context::{Fresh, Posted, Settings as Waits, Target, Waiting, read};
use crate::call::note::{Annotation, MOST_MARKS, Refused};
use crate::dictionary::Entry;
use crate::events::{ContactContext, HandoverKind, ScreenPop};

fn posted(from: &str, body: &str) -> Posted {
    let post = read(body.as_bytes(), &Waits::default()).unwrap();
    let (posted, fresh) = Posted::accept(start().wall, "osaka", from, post, None, &Waits::default()).unwrap();
    assert_eq!(fresh, Fresh::New);
    posted
}

const REASON: &str = r#"{"number":"0600001234","context":{"reason":"住民票の写し","slots":{"通数":"2"}}}"#;

fn third() -> LegKey {
    LegKey("agent-3".into())
}

impl Stage {
    fn attach(&mut self, posted: Posted) -> bool {
        let attached = self.session.attach(self.now, posted);
        self.drain();
        attached
    }

    fn annotate(&mut self, annotation: Annotation) -> Result<Option<Uuid>, Refused> {
        let done = self.session.annotate(self.now, &annotation);
        self.drain();
        done
    }

    fn mark(&mut self, utterance: &str, note: Option<&str>) -> Result<Option<Uuid>, Refused> {
        self.annotate(Annotation::Mark { utterance: utterance.into(), note: note.map(str::to_string) })
    }

    fn pops(&self) -> Vec<&ScreenPop> {
        let pops = self.realtime.iter().filter_map(|event| match &event.data {
            Data::ScreenPop(pop) => Some(pop),
            _ => None,
        });
        pops.collect()
    }

    fn packets(&self) -> Vec<&Handover> {
        let packets = self.records.iter().filter_map(|event| match &event.data {
            Data::ContactHandover(packet) => Some(&**packet),
            _ => None,
        });
        packets.collect()
    }

    fn contexts(&self) -> Vec<&ContactContext> {
        let contexts = self.records.iter().filter_map(|event| match &event.data {
            Data::ContactContext(context) => Some(context),
            _ => None,
        });
        contexts.collect()
    }

    /// The agent passes the caller on without asking; the exchange lets her go, and calls the third tier.
    fn pass_blind(&mut self) -> &mut Stage {
        self.signal(Signal::Transferred { leg: leg(), kind: TransferKind::Blind, to: Some("3001".into()) });
        self.signal(Signal::LegAppeared { leg: third(), address: "3001".into(), queue: None });
        self.signal(Signal::LegEnded(leg(), EndCause::Transferred))
    }
}

fn texts(packet: &Handover) -> Vec<&str> {
    packet.turns.iter().filter_map(|turn| turn.text.as_deref()).collect()
}

/// Two turns: the caller's at 0–1 s, the agent's at 1–2 s.
fn after_two_turns(line: Line) -> Stage {
    let mut stage = Stage::new(Some("0600001234"), line);
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller).stream(id(2), Speaker::Agent);
    stage.after(2_000).speaks(id(1), 0, 0, 900).heard(id(1), 0, "住民票がほしいです");
    stage.speaks(id(2), 0, 1_000, 1_900).heard(id(2), 0, "番号は123456789018ですね");
    stage
}

#[test]
fn a_context_from_before_the_ring_is_in_the_first_pop_and_a_later_one_revises_it() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    assert_eq!(stage.session.found_by(), [Target::Number("+81600001234".into())]);
    assert!(stage.attach(posted("portal", REASON)));
    stage.ring();
    let pop = stage.pops()[0];
    assert_eq!((pop.revision, pop.context.len()), (0, 1));
    assert_eq!(pop.context[0].known.reason.as_deref(), Some("住民票の写し"));
    assert_eq!((pop.context[0].from.as_str(), &pop.handover), ("portal", &None));
    assert!(stage.attach(posted("bot", REASON)));
    let pop = stage.pops()[1];
    assert_eq!((pop.revision, pop.context.len()), (1, 2));
    let told: Vec<&str> = stage.contexts().iter().map(|context| context.from.as_str()).collect();
    assert_eq!(told, ["portal", "bot"]);
    assert!(stage.attach(posted("bot", REASON)), "the same again");
    assert_eq!((stage.pops().len(), stage.contexts().len()), (2, 2));
}

#[test]
fn a_token_of_the_call_finds_it_whenever_it_becomes_known() {
    let mut stage = Stage::new(None, open_line());
    assert!(stage.session.found_by().is_empty());
    let key = ExternalKey { kind: KeyKind::Token, value: "abc".into() };
    stage.signal(Signal::Keys(vec![key]));
    assert_eq!(stage.session.found_by(), [Target::Token("abc".into())]);
}

#[test]
fn a_contact_has_four_contexts_at_most_and_none_after_its_end() {
    let mut stage = Stage::new(None, open_line());
    for from in ["a", "b", "c", "d"] {
        assert!(stage.attach(posted(from, REASON)));
    }
    assert!(!stage.attach(posted("e", REASON)));
    let gone = stage.contexts()[1].context;
    let now = stage.now;
    assert!(stage.session.detach(now, gone) && !stage.session.detach(now, gone));
    stage.drain();
    let told = *stage.contexts().last().unwrap();
    assert!(told.removed && told.known.is_empty() && told.context == gone);
    assert!(stage.attach(posted("e", REASON)));
    stage.signal(Signal::CallEnded(EndCause::Normal));
    assert!(!stage.attach(posted("a", REASON)));
}

#[test]
fn the_third_tier_gets_what_was_said_why_and_by_whom() {
    let mut stage = after_two_turns(open_line());
    stage.attach(posted("bot", REASON));
    let utterance = format!("{}/0", id(1).0);
    let mark = stage.mark(&utterance, Some("急ぎ 4111111111111111")).unwrap();
    stage.annotate(Annotation::Note("窓口で確認済み".into())).unwrap();
    stage.pass_blind();
    let packet = *stage.packets().last().unwrap();
    assert_eq!((packet.kind, packet.target.as_deref()), (HandoverKind::Blind, Some("3001")));
    assert_eq!(texts(packet), ["住民票がほしいです", "番号は************ですね"]);
    assert_eq!((packet.omitted_turns, packet.pending, packet.withheld), (0, 0, false));
    assert_eq!((packet.reason.as_deref(), packet.note.as_deref()), (Some("住民票の写し"), Some("窓口で確認済み")));
    assert_eq!(packet.from_agent.as_ref().unwrap().id.as_deref(), Some("op1"));
    assert_eq!(packet.to_agent.as_ref().unwrap().extension, "3001");
    let legs: Vec<_> = packet.legs.iter().map(|leg| (leg.agent.extension.as_str(), leg.reason)).collect();
    assert_eq!(legs, [("2001", Some(EndReason::Transferred))]);
    assert_eq!((Some(packet.marks[0].mark), packet.marks[0].note.as_deref()), (mark, Some("急ぎ ****************")));
    assert_eq!(packet.marks[0].text.as_deref(), Some("住民票がほしいです"));
    let packet = packet.clone();
    stage.signal(Signal::LegRinging(third()));
    let pop = *stage.pops().last().unwrap();
    assert_eq!((pop.revision, pop.agent.extension.as_str()), (0, "3001"));
    let shown = pop.handover.as_ref().unwrap();
    assert_eq!((texts(shown), shown.marks.len(), shown.to_leg), (texts(&packet), 1, Some(pop.leg)));
}

#[test]
fn the_first_agent_gets_nothing_handed_over() {
    let mut stage = after_two_turns(open_line());
    assert!(stage.packets().is_empty() && stage.pops().iter().all(|pop| pop.handover.is_none()));
    stage.after(1_000).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 3).close(id(2), 3);
    assert!(stage.packets().is_empty() && stage.silence_done().session.finished());
}

#[test]
fn text_that_comes_while_the_next_telephone_rings_is_handed_over_at_a_bounded_rate() {
    let mut stage = after_two_turns(open_line());
    stage.speaks(id(1), 1, 1_900, 1_950);
    stage.pass_blind().signal(Signal::LegRinging(third()));
    assert_eq!(stage.packets().last().unwrap().pending, 1, "said to be still to come");
    let before = stage.packets().len();
    stage.after(500).heard(id(1), 1, "急いでいます");
    assert_eq!(stage.packets().len(), before, "not yet");
    stage.after(1_600);
    let packet = *stage.packets().last().unwrap();
    assert_eq!((stage.packets().len(), packet.pending), (before + 1, 0));
    assert_eq!(texts(packet).last(), Some(&"急いでいます"));
    let pop = *stage.pops().last().unwrap();
    assert_eq!((pop.revision, texts(pop.handover.as_ref().unwrap()).len()), (1, 3));
    // what is said to the third tier is not handed over to it
    stage.after(5_000).signal(Signal::LegAnswered(third())).after(1_000);
    let told = stage.packets().len();
    stage.speaks(id(1), 2, 8_500, 9_000).heard(id(1), 2, "もしもし").after(5_000);
    assert_eq!(stage.packets().len(), told);
    assert!(stage.packets().iter().all(|packet| !texts(packet).contains(&"もしもし")));
}

#[test]
fn text_from_before_the_answer_is_handed_over_after_it_too() {
    let mut stage = after_two_turns(open_line());
    stage.speaks(id(1), 1, 1_900, 1_950);
    stage.pass_blind().signal(Signal::LegRinging(third())).after(3_000).signal(Signal::LegAnswered(third()));
    stage.after(10_000).heard(id(1), 1, "急いでいます");
    assert_eq!(texts(stage.packets().last().unwrap()).last(), Some(&"急いでいます"));
    assert_eq!(stage.pops().last().unwrap().handover.as_ref().unwrap().pending, 0);
}

#[test]
fn the_last_text_before_the_end_is_told_at_once() {
    let mut stage = after_two_turns(open_line());
    stage.speaks(id(1), 1, 1_900, 1_950);
    stage.pass_blind();
    stage.after(100).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 2).close(id(2), 2);
    stage.after(100).heard(id(1), 1, "急いでいます");
    assert!(stage.silence_done().session.finished());
    assert_eq!(texts(stage.packets().last().unwrap()).last(), Some(&"急いでいます"));
}

#[test]
fn a_packet_is_bounded_and_says_what_is_left_out() {
    let mut stage = after_two_turns(open_line());
    for n in 1..=60 {
        let from = 2_000 + u64::from(n) * 100;
        stage.speaks(id(1), n, from, from + 50).heard(id(1), n, &format!("{n}番目 {}", "あ".repeat(80)));
    }
    stage.after(10_000).pass_blind();
    let packet = *stage.packets().last().unwrap();
    assert_eq!(packet.turns.len() + packet.omitted_turns as usize, 62);
    let bytes: usize = texts(packet).iter().map(|text| text.len()).sum();
    assert!(bytes <= 6 * 1024 && packet.turns.len() <= 30 && packet.turns.len() > 20, "{bytes}");
    assert!(texts(packet).last().unwrap().starts_with("60番目"));
}

#[test]
fn revisions_are_limited_in_number() {
    let mut stage = after_two_turns(open_line());
    stage.pass_blind().signal(Signal::LegRinging(third()));
    for n in 1..=60 {
        let from = 2_000 + u64::from(n) * 100;
        stage.after(3_000).speaks(id(1), n, from, from + 50).heard(id(1), n, "はい");
    }
    assert_eq!(stage.packets().len(), 20);
    let revisions: Vec<u32> = stage.packets().iter().map(|packet| packet.revision).collect();
    assert_eq!(revisions, (0..20).collect::<Vec<u32>>());
}

#[test]
fn a_line_that_sends_no_texts_hands_over_on_the_panel_only() {
    let mut stage = after_two_turns(Line { deliver: false, ..open_line() });
    stage.annotate(Annotation::Note("秘密".into())).unwrap();
    stage.attach(posted("bot", REASON));
    stage.pass_blind().signal(Signal::LegRinging(third()));
    let sent = |event: &&Event| event.sequence.is_some();
    let (sent, kept): (Vec<&Event>, Vec<&Event>) = stage.records.iter().partition(sent);
    let body = |events: &[&Event]| events.iter().map(|event| event.to_json()).collect::<String>();
    assert!(!body(&sent).contains("住民票がほしい") && !body(&sent).contains("秘密"), "{}", body(&sent));
    assert!(body(&sent).contains("contact.handover") && body(&sent).contains("住民票の写し"));
    assert!(body(&kept).contains("住民票がほしい") && body(&kept).contains("秘密"));
    let pop = stage.realtime.last().unwrap();
    assert!(pop.to_json().contains("住民票がほしい"));
    let sent = pop.clone().for_delivery(false).to_json();
    assert!(!sent.contains("住民票がほしい") && sent.contains("\"withheld\":true") && sent.contains("住民票の写し"));
    assert_eq!(pop.clone().for_delivery(true).to_json(), sent, "the packet itself knows that it stays");
}

#[test]
fn words_of_the_dictionary_are_counted() {
    let entry = |surface: &str, class: &str| Entry {
        surface: surface.into(),
        readings: vec!["ジュウミンヒョウ".into()],
        class: class.into(),
        scope: String::new(),
        weight: 1.0,
        aliases: Vec::new(),
    };
    let entries = vec![entry("住民票", "procedure"), entry("番号", "")];
    let mut stage = Stage::new(None, open_line());
    let dictionary = Dictionary::of_entries(entries, &crate::dictionary::Settings::default());
    stage.session.reload(Site { dictionary: Arc::new(dictionary), ..site() });
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller).after(2_000);
    stage.speaks(id(1), 0, 0, 500).heard(id(1), 0, "住民票です、番号と住民票");
    stage.pass_blind();
    let terms = stage.packets().last().unwrap().terms.iter();
    let terms: Vec<_> = terms.map(|term| (term.surface.as_str(), term.class.as_str(), term.count)).collect();
    assert_eq!(terms, [("住民票", "procedure", 2), ("番号", "", 1)]);
}

#[test]
fn a_transfer_after_consultation_hands_over_to_whoever_answered_already() {
    let mut stage = after_two_turns(open_line());
    stage.signal(Signal::LegAppeared { leg: third(), address: "3001".into(), queue: None });
    stage.signal(Signal::LegAnswered(third()));
    let kinds: Vec<_> = stage.packets().iter().map(|packet| packet.kind).collect();
    assert_eq!(kinds, [HandoverKind::Joined]);
    stage.signal(Signal::Transferred { leg: leg(), kind: TransferKind::Attended, to: Some("3001".into()) });
    let packet = *stage.packets().last().unwrap();
    assert_eq!((packet.kind, packet.to_agent.as_ref().unwrap().extension.as_str()), (HandoverKind::Attended, "3001"));
    let pop = *stage.pops().last().unwrap();
    assert_eq!((pop.transfer.is_some(), pop.handover.as_ref().unwrap().kind), (true, HandoverKind::Attended));
}

#[test]
fn a_caller_who_is_passed_on_to_nobody_is_handed_over_to_whom_it_may_concern() {
    let mut stage = after_two_turns(open_line());
    stage.signal(Signal::Transferred { leg: leg(), kind: TransferKind::Blind, to: Some("0312345678".into()) });
    stage.signal(Signal::CallEnded(EndCause::Transferred));
    let packet = *stage.packets().last().unwrap();
    assert_eq!((packet.target.as_deref(), packet.to_leg), (Some("0312345678"), None));
    assert_eq!(texts(packet).len(), 2);
}

#[test]
fn a_queue_that_the_caller_is_passed_on_to_is_one_packet_for_everybody_who_rings() {
    let mut stage = after_two_turns(open_line());
    stage.signal(Signal::Transferred { leg: leg(), kind: TransferKind::Blind, to: Some("6002".into()) });
    stage.signal(Signal::Queued { queue: "senmon".into() });
    for (n, extension) in ["2002", "3001"].into_iter().enumerate() {
        let leg = LegKey(format!("q{n}"));
        stage.signal(Signal::LegAppeared { leg: leg.clone(), address: extension.into(), queue: Some("senmon".into()) });
        stage.signal(Signal::LegRinging(leg));
    }
    let shown: Vec<_> = stage.pops().iter().filter_map(|pop| pop.handover.as_ref()).collect();
    let to: Vec<_> = shown.iter().map(|packet| packet.to_agent.as_ref().unwrap().extension.as_str()).collect();
    assert_eq!(to, ["2002", "3001"]);
    assert!(stage.packets().iter().all(|packet| packet.handover == shown[0].handover));
    stage.after(5_000).signal(Signal::LegAnswered(LegKey("q1".into()))).after(2_000);
    assert_eq!(stage.packets().last().unwrap().to_agent.as_ref().unwrap().extension, "3001");
}

#[test]
fn a_telephone_that_sends_the_call_elsewhere_hands_over_what_was_known_before() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    stage.attach(posted("portal", REASON));
    stage.ring().signal(Signal::LegEnded(leg(), EndCause::Forwarded));
    stage.signal(Signal::LegAppeared { leg: third(), address: "3001".into(), queue: None });
    let packet = *stage.packets().last().unwrap();
    assert_eq!((packet.kind, packet.reason.as_deref()), (HandoverKind::Forwarded, Some("住民票の写し")));
    assert_eq!(packet.legs[0].reason, Some(EndReason::Forwarded));
}

#[test]
fn whoever_is_asked_about_a_caller_on_hold_gets_the_packet_in_the_other_contact() {
    let mut stage = after_two_turns(open_line());
    let (agent, _) = site().directory.agent("2001");
    assert_eq!(stage.session.held_by(&agent), None);
    stage.signal(Signal::LegHeld(leg()));
    let held = stage.session.held_by(&agent).unwrap();
    let mut asked = Stage::new(Some("2001"), open_line());
    let (now, other) = (stage.now, asked.session.id());
    stage.session.consults(now, held, other, "3001");
    stage.drain();
    let packet = *stage.packets().last().unwrap();
    assert_eq!((packet.kind, packet.consultation), (HandoverKind::Consultation, Some(other)));
    let (to, packet) = stage.handed_over.pop().unwrap();
    assert_eq!(to, other);
    asked.session.receive(now, packet);
    asked.ring();
    let shown = asked.pops()[0].handover.clone().unwrap();
    assert_eq!((shown.kind, texts(&shown).len()), (HandoverKind::Consultation, 2));
    assert!(asked.packets().is_empty(), "the record is in the caller's contact");
    // text that was still to come follows
    stage.after(3_000).speaks(id(1), 1, 1_950, 1_990).heard(id(1), 1, "待ちます");
    let (_, packet) = stage.handed_over.pop().unwrap();
    asked.session.receive(stage.now, packet);
    asked.drain();
    assert_eq!(texts(asked.pops()[1].handover.as_ref().unwrap()).last(), Some(&"待ちます"));
    // after the consultation, what is said is between the two of them again
    stage.signal(Signal::LegResumed(leg())).after(10_000);
    let told = stage.packets().len();
    stage.speaks(id(1), 2, 14_000, 14_500).heard(id(1), 2, "はい");
    stage.after(10_000);
    assert_eq!((stage.packets().len(), stage.handed_over.len()), (told, 0));
}

#[test]
fn marks_are_kept_and_bounded_and_taken_away() {
    let mut stage = after_two_turns(open_line());
    assert_eq!(stage.mark("none/0", None), Err(Refused::NoUtterance));
    let utterance = format!("{}/0", id(1).0);
    let mark = stage.mark(&utterance, None).unwrap().unwrap();
    assert_eq!(stage.mark(&utterance, None), Ok(Some(mark)), "once is enough");
    let marked = |stage: &Stage| stage.types().iter().filter(|kind| **kind == "kakehashi.contact.marked.v1").count();
    assert_eq!(marked(&stage), 1);
    stage.mark(&utterance, Some("急ぎ")).unwrap();
    assert_eq!(marked(&stage), 2, "the note beside it changed");
    stage.annotate(Annotation::Unmark(mark)).unwrap();
    assert_eq!(stage.annotate(Annotation::Unmark(mark)), Err(Refused::NoMark));
    assert_eq!(*stage.types().last().unwrap(), "kakehashi.contact.unmarked.v1");
    let most = u32::try_from(MOST_MARKS).unwrap();
    for n in 1..=most + 1 {
        let from = 2_000 + u64::from(n) * 100;
        stage.speaks(id(1), n, from, from + 50).heard(id(1), n, "はい");
        let done = stage.mark(&format!("{}/{from}", id(1).0), None);
        assert_eq!(done.is_ok(), n <= most, "{n}");
    }
}

#[test]
fn after_a_restart_marks_note_and_contexts_are_there_and_a_packet_is_finished() {
    let mut stage = after_two_turns(open_line());
    stage.attach(posted("bot", REASON));
    stage.mark(&format!("{}/0", id(1).0), Some("急ぎ")).unwrap();
    stage.annotate(Annotation::Note("窓口で確認済み".into())).unwrap();
    stage.pass_blind();
    let (state, events) = (stage.session.state(), stage.records.clone());
    let before = State::parse(&state).unwrap().cut_off().unwrap();
    let later = stage.now.plus(Duration::from_secs(5));
    stage.session = Session::resume(later, site(), &state, &events, Some(later.wall)).unwrap();
    stage.now = later;
    stage.drain();
    assert_eq!(stage.session.state().matches("急ぎ").count(), 1);
    // the sound that nobody had recognised comes from disk, and the packet gets its text
    let pcm: Arc<[i16]> = Arc::from(vec![9i16; 800]);
    let (start, end) = (MediaTime(1_900_000), MediaTime(2_000_000));
    let utterance = Utterance { number: 0, start, end, forced: false, rate: 8_000, pcm };
    stage
        .session
        .handle_speech(SpeechEvent { stream: id(1), at: later, kind: SpeechEventKind::Ended(utterance) }, true);
    stage.drain();
    stage.heard(id(1), 0, "急いでいます").close(id(1), 2).close(id(2), 2);
    let packet = *stage.packets().last().unwrap();
    assert_eq!(texts(packet).last(), Some(&"急いでいます"));
    assert_eq!((packet.marks.len(), packet.note.as_deref()), (1, Some("窓口で確認済み")));
    assert!(stage.silence_done().session.finished());
    // the call itself goes on as a new contact, which knows why she calls
    let first = Signal::CallAppeared {
        caller: Identity::default(),
        called: "6001".into(),
        keys: Vec::new(),
        fidelity: Fidelity::Full,
    };
    let (call, caller) = (CallKey { pbx: PbxId("pbx1".into()), key: "1.1".into() }, Identity::default());
    let (before, line) = (Some(before), open_line());
    let opening = Opening { call, salt: 7, caller: &caller, called: "6001", line, first: &first, before };
    stage.session = Session::open(later, site(), opening);
    stage.realtime.clear();
    stage.ring();
    assert_eq!(stage.pops()[0].context[0].known.reason.as_deref(), Some("住民票の写し"));
}

#[test]
fn a_state_without_any_of_it_is_read() {
    let stage = talking();
    let mut state: serde_json::Value = serde_json::from_str(&stage.session.state()).unwrap();
    for key in ["contexts", "marks", "note", "handovers"] {
        assert!(state.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    assert!(State::parse(&state.to_string()).is_ok());
}

#[test]
fn what_waits_for_a_number_is_found_by_the_session_of_that_number() {
    let mut waiting = Waiting::default();
    let post = read(REASON.as_bytes(), &Waits::default()).unwrap();
    waiting.post(start().wall, "osaka", "portal", post, &Waits::default()).unwrap();
    let found = |number: &str| {
        let targets = Stage::new(Some(number), open_line()).session.found_by();
        targets.iter().map(|target| waiting.find(start().wall, "osaka", target).len()).sum::<usize>()
    };
    assert_eq!((found("0600001234"), found("+81600001234"), found("0600001235"), found("1234")), (1, 1, 0, 0));
}
