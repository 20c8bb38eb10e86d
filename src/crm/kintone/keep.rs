//! The record of a call in kintone: read by its key, merged, written by its key while nobody else has written since.
//!
//! What is there says what is still to be done: `sequence` is the newest event of the call in the record, `revision` the transcript's. So a second
//! attempt whose first one arrived writes nothing, and what comes late sets nothing back. Any event makes the record where it is missing.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::milestone::Milestone;
use super::record::Record;
use super::rest::{Call, Fault, is_one_of, odd, records, text};
use super::talk::{Job, Next, Peer};
use super::text as words;
use super::who::{self, People};
use crate::call::ContactId;
use crate::call::number::Number;
use crate::events::{CallEnded, TranscriptDocument};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// How often an event begins anew because somebody else wrote meanwhile.
const MOST_CONFLICTS: u32 = 2;

/// An event under way into its record.
pub(super) struct Keep {
    peer: Arc<Peer>,
    contact: ContactId,
    site: String,
    sequence: u64,
    what: Milestone,
    step: Step,
    /// The record as it was read; `None` where there is none.
    there: Option<Value>,
    /// Who has the number, once that was asked.
    people: Option<People>,
    /// Key of the file in temporary storage.
    upload: Option<String>,
    /// The contact is not linked: kintone does not take the link.
    unlinked: bool,
    conflicts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What is there already.
    Known,
    /// Who has the number.
    Who,
    Upload,
    Write,
    Done,
}

impl Keep {
    pub(super) fn new(peer: Arc<Peer>, contact: ContactId, site: String, sequence: u64, what: Milestone) -> Keep {
        Keep {
            peer,
            contact,
            site,
            sequence,
            what,
            step: Step::Known,
            there: None,
            people: None,
            upload: None,
            unlinked: false,
            conflicts: 0,
        }
    }

    /// The call of a step; `None` where nothing is to be called for it.
    fn call_of(&self, step: Step) -> Option<Call> {
        let fields = &self.peer.settings.fields;
        match step {
            Step::Known => Some(self.read()),
            Step::Who if self.people.is_none() => self.number().and_then(|number| who::ask(&self.peer, &number)),
            Step::Upload if self.upload.is_none() && !fields.file.is_empty() => self.upload(),
            Step::Write => Some(self.write()),
            _ => None,
        }
    }

    fn read(&self) -> Call {
        let (app, fields) = (self.peer.settings.app, &self.peer.settings.fields);
        let query = format!("{} limit 1", is_one_of(&fields.key, [self.contact.to_string().as_str()].into_iter()));
        let mut wanted = vec!["$id".to_string(), "$revision".to_string()];
        wanted.extend(self.wanted().map(|(_, code)| code.to_string()));
        Call::Read { app, query, fields: wanted }
    }

    /// Keys and codes of the fields that this event looks at or writes.
    fn wanted(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let of_text = matches!(self.what, Milestone::Document(_));
        let wanted = move |key: &str| match key {
            // long, and of no use here
            "transcript" => false,
            "file" => of_text,
            _ => true,
        };
        self.peer.settings.fields.all().into_iter().filter(move |(key, code)| !code.is_empty() && wanted(key))
    }

    /// The number that decides whose call it is, while that is still to be written.
    fn number(&self) -> Option<Number> {
        let fields = &self.peer.settings.fields;
        let open = |code: &String| !code.is_empty() && self.is_empty(code);
        let caller = self.what.caller().filter(|_| open(&fields.contact) || open(&fields.who))?;
        words::linkable_number(caller)
    }

    fn is_empty(&self, code: &str) -> bool {
        self.there.as_ref().is_none_or(|there| text(there, code).is_empty())
    }

    fn upload(&self) -> Option<Call> {
        let Milestone::Document(document) = &self.what else { return None };
        let text = words::transcript(document);
        let mut boundary = format!("kakehashi-{}", self.contact);
        while text.contains(&boundary) {
            boundary.push('-');
        }
        Some(Call::Upload { name: words::file_name(self.contact), text, boundary })
    }

    fn write(&self) -> Call {
        let (app, fields) = (self.peer.settings.app, &self.peer.settings.fields);
        let revision = self.there.as_ref().map(|there| text(there, "$revision").to_string());
        let key = (fields.key.clone(), self.contact.to_string());
        Call::Upsert { app, key, revision, record: Value::Object(self.record()) }
    }

    /// What is to be written.
    fn record(&self) -> Map<String, Value> {
        let Some(form) = self.peer.form(self.peer.settings.app) else { return Map::new() };
        let mut record = Record::new(&form, &self.peer.settings.fields);
        match &self.what {
            Milestone::Document(document) => self.put_transcript(&mut record, document),
            Milestone::Answered(..) => record.put("sequence", json!(self.sequence)),
            Milestone::Ended(ended, at) => {
                record.put("sequence", json!(self.sequence));
                put_outcome(&mut record, ended, *at);
            }
        }
        self.put_beginning(&mut record);
        record.values
    }

    /// What is written once: where the record has something, people may have put it right.
    fn put_beginning(&self, record: &mut Record<'_>) {
        let fields = &self.peer.settings.fields;
        record.put_text_once("site", &self.site, self.is_empty(&fields.site));
        if self.is_empty(&fields.started)
            && let Some(began) = self.what.began()
        {
            record.put_once("started", json!(words::utc(began)));
        }
        let Some(caller) = self.what.caller() else { return };
        if matches!(self.what, Milestone::Answered(..)) && self.is_empty(&fields.sequence) {
            record.put_text("state", words::state(false, true));
        }
        let nobody = People::default();
        let people = self.people.as_ref().unwrap_or(&nobody);
        let once = [
            ("number", words::number(caller), &fields.number),
            ("digits", words::digits(caller), &fields.digits),
            ("called", self.what.called().into(), &fields.called),
            ("queue", self.what.queue().into(), &fields.queue),
            ("agent", self.what.agent().map(words::agent_name).unwrap_or_default(), &fields.agent),
            ("who", words::who(&self.peer, caller, people), &fields.who),
        ];
        for (key, text, code) in once {
            record.put_text_once(key, &text, self.is_empty(code));
        }
        let link = people.only().and_then(|person| person.link.clone()).filter(|_| !self.unlinked);
        if let Some(link) = link.filter(|_| self.is_empty(&fields.contact)) {
            record.put("contact", json!(link));
        }
    }

    fn put_transcript(&self, record: &mut Record<'_>, document: &TranscriptDocument) {
        record.put("revision", json!(document.revision));
        let has_file = !self.peer.settings.fields.file.is_empty();
        record.put("transcript", json!(words::transcript_in_field(document, has_file)));
        let Some(key) = &self.upload else { return };
        let name = words::file_name(self.contact);
        let files = self.there.as_ref().and_then(|there| there[&self.peer.settings.fields.file]["value"].as_array());
        // a list that is written takes the place of the one that is there: what others put there stays in it
        let others = files.into_iter().flatten().filter(|file| file["name"] != name.as_str());
        let mut keys: Vec<Value> = others.map(|file| json!({"fileKey": file["fileKey"]})).collect();
        keys.push(json!({"fileKey": key}));
        record.put("file", json!(keys));
    }

    /// Whether the record has what the event brings, or something later.
    fn is_done(&self, there: &Value) -> bool {
        let fields = &self.peer.settings.fields;
        let number = |code: &str| text(there, code).parse::<f64>().ok();
        match &self.what {
            Milestone::Document(document) => {
                number(&fields.revision).is_some_and(|has| has >= f64::from(document.revision))
            }
            _ => number(&fields.sequence).is_some_and(|has| has >= self.sequence as f64),
        }
    }

    /// Whether the record has all the fields that were asked for, and none has become another.
    fn is_of_form(&self, there: &Value) -> bool {
        let form = self.peer.form(self.peer.settings.app);
        let same = |code: &str| {
            let known = form.as_ref().and_then(|form| form.get(code)).map(|field| field.kind.as_str());
            there[code]["type"].as_str() == known
        };
        self.wanted().all(|(_, code)| same(code))
    }

    /// Takes the result of a step in; what comes after it.
    fn heard(&mut self, result: &Value) -> Result<Step, Next<Answer>> {
        match self.step {
            Step::Known => {
                let there = records(result).map_err(Next::End)?.first().cloned();
                if let Some(there) = &there {
                    if !self.is_of_form(there) {
                        return Err(Next::Doubt(odd("the record has not the fields that the form has")));
                    }
                    if self.is_done(there) {
                        return Err(Next::End(Answer::Delivered));
                    }
                }
                self.there = there;
            }
            Step::Who => {
                let number = self.number().ok_or_else(|| Next::End(odd("nobody was asked for")))?;
                self.people = Some(who::of(&self.peer, &number, result).map_err(Next::End)?);
            }
            Step::Upload => {
                let key = result["fileKey"].as_str().ok_or_else(|| Next::End(odd("no fileKey")))?;
                self.upload = Some(key.into());
            }
            Step::Write => {
                records(result).map_err(Next::End)?;
            }
            Step::Done => {}
        }
        Ok(self.step.after())
    }

    /// What comes after a refusal.
    fn refused(&mut self, fault: Fault) -> Result<Step, Next<Answer>> {
        let writes = self.step == Step::Write;
        let again = match fault.code.as_str() {
            // somebody else writes: what is there is read again
            "GAIA_CO02" | "GAIA_DA02" | "GAIA_RE20" | "GAIA_RE01" => true,
            // the record was made meanwhile
            "CB_VA01" => writes && fault.is_of(&self.peer.settings.fields.key),
            // the file is no longer in temporary storage, or was used up
            "GAIA_BL01" => writes && self.upload.take().is_some(),
            "GAIA_LO04" => writes && !std::mem::replace(&mut self.unlinked, true),
            _ => false,
        };
        if again && self.conflicts < MOST_CONFLICTS {
            self.conflicts += 1;
            return Ok(Step::Known);
        }
        if !fault.doubts_form() {
            return Err(Next::End(fault.answer));
        }
        let named = self
            .peer
            .settings
            .fields
            .all()
            .into_iter()
            .filter(|(_, code)| fault.is_of(code))
            .map(|(key, _)| key)
            .collect::<Vec<_>>();
        let answer = match fault.answer {
            Answer::Refused(what) if !named.is_empty() => {
                Answer::Refused(format!("{what}: not taken: [endpoint.kintone.fields] {}", named.join(", ")))
            }
            answer => answer,
        };
        Err(Next::Doubt(answer))
    }
}

impl Step {
    fn after(self) -> Step {
        match self {
            Step::Known => Step::Who,
            Step::Who => Step::Upload,
            Step::Upload => Step::Write,
            Step::Write | Step::Done => Step::Done,
        }
    }
}

impl Job for Keep {
    type End = Answer;

    fn apps(&self) -> Vec<u64> {
        let contacts = self.peer.settings.contacts.app;
        let asks = self.number().is_some() && contacts != 0;
        [self.peer.settings.app].into_iter().chain(asks.then_some(contacts)).collect()
    }

    fn next(&mut self, reply: Option<Result<Value, Fault>>) -> Next<Answer> {
        let next = match reply {
            None => Ok(Step::Known),
            Some(Ok(result)) => self.heard(&result),
            Some(Err(fault)) => self.refused(fault),
        };
        self.step = match next {
            Ok(step) => step,
            Err(end) => return end,
        };
        while self.step != Step::Done {
            if let Some(call) = self.call_of(self.step) {
                return Next::Call(call);
            }
            self.step = self.step.after();
        }
        Next::End(Answer::Delivered)
    }

    fn failed(answer: Answer) -> Answer {
        answer
    }

    fn is_patient(&self) -> bool {
        true
    }
}

/// The end of a call, of which the bridge knows best.
fn put_outcome(record: &mut Record<'_>, ended: &CallEnded, at: Wall) {
    let talked = ended.first_answered().and_then(|leg| leg.answered).map(|from| at.since(from));
    record.put("started", json!(words::utc(ended.started)));
    record.put("ended", json!(words::utc(at)));
    record.put("seconds", json!(talked.unwrap_or_default().as_secs()));
    record.put_text("state", words::state(true, talked.is_some()));
    record.put_text("course", &words::course(ended, at));
}
