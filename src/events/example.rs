//! One event of each type, for the documents that describe them and for tests that want them all.

use uuid::Uuid;

use super::*;
use crate::call::Tier;
use crate::call::context::{By, Known, Page, Slot};
use crate::call::number::NumberKind;
use crate::call::pause::{Cause, Scope};
use crate::pbx::{
    DivertReason, ExternalKey, KeyKind, Relation, Speaker, StreamId, Tag, TransferKind, Verstat, Withheld,
};

/// When the example's call begins: 2026-11-23T08:00:00Z.
const BEGAN: i64 = 1_795_420_800_000_000;

/// One event of each type, in the order of [`Data`]; between them every field has a value somewhere.
pub fn examples() -> Vec<Event> {
    let mut sequence = 0;
    all()
        .into_iter()
        .enumerate()
        .map(|(second, data)| {
            let record = data.class() == Class::Record;
            let time = at(second as i64);
            sequence += u64::from(record);
            let contact = ContactId(id("contact"));
            let about_contact =
                matches!(data, Data::CallQueued(_) | Data::CallAbandoned(_) | Data::TranscriptDocument(_));
            Event {
                id: if record { Event::record_id(contact, sequence, time) } else { id(data.type_name()) },
                source: "/site/osaka/node/n1".into(),
                contact,
                leg: (!about_contact).then(|| leg("first")),
                time,
                sequence: record.then_some(sequence),
                expires: (!record).then(|| Wall(time.0 + 30_000_000)),
                data,
            }
        })
        .collect()
}

fn all() -> Vec<Data> {
    let (caller, called) = (caller(), "0662088181".to_string());
    let (from_leg, from_agent) = (Some(leg("first")), Some(agent("2001")));
    vec![
        Data::CallQueued(CallQueued { caller: withheld(), called: called.clone(), queue: "madoguchi".into() }),
        Data::CallOffered(state("first", "2001")),
        Data::CallRinging(state("first", "2001")),
        Data::CallAnswered(state("first", "2001")),
        Data::CallHeld(state("first", "2001")),
        Data::CallResumed(state("first", "2001")),
        Data::CallParked(CallParked {
            caller: caller.clone(),
            called: called.clone(),
            slot: Some("701".into()),
            from_leg,
            from_agent: from_agent.clone(),
        }),
        Data::CallTransferred(CallTransferred {
            kind: TransferKind::Attended,
            from_leg: leg("first"),
            from_agent: agent("2001"),
            to_leg: Some(leg("second")),
            to_agent: Some(agent("2002")),
            target: Some("2002".into()),
            caller: caller.clone(),
            called: called.clone(),
        }),
        Data::ContactLinked(ContactLinked {
            contact: ContactId(id("consultation")),
            relation: Relation::Consultation,
            kind: TransferKind::Attended,
        }),
        Data::ContactContext(context()),
        Data::ContactHandover(Box::new(handover())),
        Data::ContactMarked(mark()),
        Data::ContactUnmarked(ContactUnmarked { mark: id("mark"), utterance: utterance() }),
        Data::ContactNote(ContactNote { text: "折り返しを希望".into() }),
        Data::CallAbandoned(CallAbandoned {
            caller: withheld(),
            called: called.clone(),
            queue: Some("madoguchi".into()),
            waited_ms: 41_000,
        }),
        Data::CallEnded(CallEnded {
            reason: EndReason::CallerHangup,
            caller: caller.clone(),
            called: called.clone(),
            started: at(0),
            legs: vec![record()],
            keys: keys(),
        }),
        Data::TranscriptFinal(TranscriptFinal {
            leg: leg("first"),
            utterance: utterance(),
            speaker: Speaker::Caller,
            start: at(3),
            end: at(5),
            start_ms: 2_500,
            end_ms: 4_500,
            text: "三国の住民票をください".into(),
            text_raw: "見国の住民票をください".into(),
            corrections: vec![correction()],
            confidence: 0.87,
            gaps: vec![(3_000, 3_040)],
            model: "kakehashi-lab-ja".into(),
            dictionary: "4f2a".into(),
            caught_up: false,
        }),
        Data::TranscriptCorrected(TranscriptCorrected {
            leg: leg("first"),
            utterance: utterance(),
            revision: 1,
            speaker: Speaker::Caller,
            start: at(3),
            before: "三国の住民票をください".into(),
            text: "三国の住民票を二通ください".into(),
            from: "panel".into(),
            agent: Some("op1".into()),
        }),
        Data::TranscriptDelayed(TranscriptDelayed { waiting: 3, behind_ms: 8_200 }),
        Data::TranscriptDocument(document()),
        Data::RecordingAvailable(RecordingAvailable { streams: vec![stream()], pauses: vec![pause()] }),
        Data::RecordingPaused(RecordingPause {
            scope: Scope::Both,
            cause: Cause::Asked,
            reason: Some("カード番号".into()),
            record_paused: true,
            transcribe_paused: true,
        }),
        Data::RecordingResumed(RecordingPause {
            scope: Scope::Both,
            cause: Cause::Asked,
            reason: None,
            record_paused: false,
            transcribe_paused: false,
        }),
        Data::ScreenPop(pop()),
        Data::ScreenPopWithdrawn(ScreenPopWithdrawn {
            popid: id("pop"),
            leg: leg("first"),
            agent: agent("2001"),
            reason: WithdrawReason::AnsweredElsewhere,
        }),
        Data::TranscriptPartial(TranscriptPartial {
            leg: leg("first"),
            utterance: utterance(),
            revision: 2,
            speaker: Speaker::Caller,
            start: at(3),
            start_ms: 2_500,
            heard_ms: 1_200,
            stable: "三国の".into(),
            tail: "住民".into(),
            withdrawn: false,
        }),
    ]
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("example\0{name}").as_bytes())
}

fn leg(name: &str) -> LegId {
    LegId(id(name))
}

fn at(seconds: i64) -> Wall {
    Wall(BEGAN + seconds * 1_000_000)
}

fn utterance() -> String {
    format!("{}/2500", id("stream"))
}

fn caller() -> Caller {
    Caller {
        number: Some("+81600001234".into()),
        raw: Some("0600001234".into()),
        display: Some("見本 花子".into()),
        withheld: None,
        kind: Some(NumberKind::Fmc),
        tags: vec![Tag::Relay],
        verstat: Some(Verstat::Passed),
        diverted: Some(DivertedFrom {
            number: Some("+81662088182".into()),
            raw: Some("0662088182".into()),
            reason: Some(DivertReason::Busy),
        }),
    }
}

fn withheld() -> Caller {
    Caller { withheld: Some(Withheld::Refused), ..Caller::default() }
}

fn agent(extension: &str) -> Agent {
    Agent {
        id: Some("op1".into()),
        name: Some("見本 太郎".into()),
        department: Some("市民課".into()),
        extension: extension.into(),
    }
}

fn keys() -> Vec<ExternalKey> {
    vec![ExternalKey { kind: KeyKind::CallId, value: "a84b4c76e66710@192.0.2.10".into() }]
}

fn state(name: &str, extension: &str) -> LegState {
    LegState {
        leg: leg(name),
        agent: agent(extension),
        tier: Tier::Second,
        caller: caller(),
        called: "0662088181".into(),
        queue: Some("madoguchi".into()),
        previous_leg: Some(leg("before")),
        keys: keys(),
    }
}

fn record() -> LegRecord {
    LegRecord {
        leg: leg("first"),
        agent: agent("2001"),
        tier: Tier::Second,
        queue: Some("madoguchi".into()),
        previous_leg: Some(leg("before")),
        offered: at(0),
        ringing: Some(at(0)),
        answered: Some(at(2)),
        ended: Some(at(60)),
        reason: Some(EndReason::CallerHangup),
    }
}

fn context() -> ContactContext {
    let page = Page { url: "https://portal.example.jp/juminhyo".into(), title: Some("住民票の写し".into()) };
    ContactContext {
        context: id("context"),
        version: 1,
        from: "portal".into(),
        by: By::Number,
        posted: at(-600),
        attached: at(0),
        removed: false,
        known: Known {
            reason: Some("住民票の写し".into()),
            page: Some(page),
            chat: Some("https://chat.example.jp/c/17".into()),
            citizen: Some("ref-0815".into()),
            slots: vec![Slot { key: "通数".into(), value: "2通".into() }],
        },
    }
}

fn mark() -> ContactMarked {
    ContactMarked {
        mark: id("mark"),
        utterance: utterance(),
        leg: leg("first"),
        speaker: Speaker::Caller,
        start: at(3),
        text: Some("三国の住民票をください".into()),
        note: Some("本人確認済み".into()),
    }
}

fn handover() -> Handover {
    Handover {
        handover: id("handover"),
        revision: 0,
        kind: HandoverKind::Consultation,
        from_leg: Some(leg("first")),
        from_agent: Some(agent("2001")),
        to_leg: Some(leg("second")),
        to_agent: Some(agent("2002")),
        target: Some("2002".into()),
        consultation: Some(ContactId(id("consultation"))),
        reason: Some("住民票の写し".into()),
        note: Some("折り返しを希望".into()),
        context: vec![context()],
        legs: vec![record()],
        turns: vec![HandoverTurn {
            utterance: utterance(),
            leg: leg("first"),
            speaker: Speaker::Caller,
            start: at(3),
            text: Some("三国の住民票をください".into()),
        }],
        omitted_turns: 0,
        pending: 1,
        marks: vec![mark()],
        terms: vec![Term { surface: "三国".into(), class: "町名".into(), count: 1 }],
        withheld: false,
        stays_here: false,
    }
}

fn correction() -> Correction {
    Correction {
        start: 0, end: 2, from: "見国".into(), to: "三国".into(), reading: "ミクニ".into(), distance: 0.0
    }
}

fn pause() -> PausedSpan {
    PausedSpan { scope: Scope::Record, from: at(20), to: at(30) }
}

fn document() -> TranscriptDocument {
    let turn = Turn {
        utterance: utterance(),
        leg: leg("first"),
        speaker: Speaker::Caller,
        start: at(3),
        end: at(5),
        text: Some("三国の住民票を二通ください".into()),
        corrections: Vec::new(),
        corrected: Some(1),
    };
    let unread = Turn { text: None, corrected: None, corrections: vec![correction()], ..turn.clone() };
    let coverage = Coverage {
        duration: 58_000,
        transcribed: 30_000,
        silent: 17_000,
        paused: 10_000,
        failed: 1_000,
        ..Coverage::default()
    };
    let unheard = Some("no port".to_string());
    TranscriptDocument {
        revision: 1,
        turns: vec![turn, unread],
        coverage: vec![LegCoverage { leg: leg("first"), speaker: Speaker::Caller, coverage, unheard }],
        complete: false,
        pauses: vec![pause()],
    }
}

fn stream() -> RecordedStream {
    RecordedStream {
        stream: StreamId(id("stream")),
        leg: leg("first"),
        speaker: Speaker::Caller,
        origin: at(2),
        samples: 464_000,
        rate: 8_000,
        from: Some(at(2)),
        to: Some(at(60)),
        spare: true,
    }
}

fn pop() -> ScreenPop {
    let entry = Entry {
        title: "転出届".into(),
        time: Some(at(-86_400)),
        state: Some("処理中".into()),
        url: Some("https://crm.example.jp/case/4".into()),
    };
    let found = Match {
        id: "17".into(),
        name: "見本 花子".into(),
        note: Some("淀川区".into()),
        url: Some("https://crm.example.jp/contact/17".into()),
        cases: vec![entry.clone()],
        history: vec![entry],
    };
    ScreenPop {
        popid: id("pop"),
        revision: 1,
        leg: leg("first"),
        agent: agent("2001"),
        caller: caller(),
        called: "0662088181".into(),
        line: Some("代表".into()),
        queue: Some("madoguchi".into()),
        lookup: LookUp::Done,
        matches: vec![found],
        transfer: Some(PopTransfer { kind: TransferKind::Blind, leg: leg("before"), agent: agent("2003") }),
        context: vec![context()],
        handover: Some(Box::new(handover())),
    }
}
