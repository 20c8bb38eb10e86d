//! The record of a call in Odoo: made when it is answered, completed when it has ended, the transcript beside it.
//!
//! Each write goes by an external id of its own, so that the second attempt of an event changes what the first one made. Any event finds the
//! record as it is and makes it where it is missing: a `call.answered` that was refused leaves a record by `call.ended` all the same.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::milestone::Milestone;
use super::rpc::{Call, Loaded, odd};
use super::settings::TranscriptAs;
use super::talk::{Job, Next, Peer};
use super::text;
use super::who::{self, People};
use crate::call::ContactId;
use crate::call::number::Number;
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// The namespace of our external ids.
const MODULE: &str = "kakehashi";
/// How often a write that met another one is tried again at once.
const MOST_CONFLICTS: u32 = 3;

/// An event under way into its record.
pub(super) struct Keep {
    peer: Arc<Peer>,
    contact: ContactId,
    what: Milestone,
    step: Step,
    /// The record, once it is known or made.
    call: Option<u64>,
    /// It was there before.
    was_there: bool,
    /// The transcript beside it.
    transcript: Option<u64>,
    /// The revision that is there is a later one.
    outdated: bool,
    people: People,
    user: Option<u64>,
    conflicts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    /// What is there already.
    Known,
    /// Who has the number.
    Who,
    /// Which user the agent is.
    User,
    Record,
    Course,
    /// Which transcript is there.
    Revision,
    Transcript,
    Done,
}

impl Keep {
    pub(super) fn new(peer: Arc<Peer>, contact: ContactId, what: Milestone) -> Keep {
        Keep {
            peer,
            contact,
            what,
            step: Step::Begin,
            call: None,
            was_there: false,
            transcript: None,
            outdated: false,
            people: People::default(),
            user: None,
            conflicts: 0,
        }
    }

    fn external(&self, what: &str) -> String {
        format!("{what}_{}", self.contact)
    }

    /// The last part of the transcript's external id.
    fn transcript_kind(&self) -> (&'static str, &'static str) {
        match self.peer.settings.transcript {
            TranscriptAs::Attachment => ("transcript", "ir.attachment"),
            TranscriptAs::Message => ("message", "mail.message"),
        }
    }

    /// The number that decides whose call it is.
    fn number(&self) -> Option<Number> {
        let caller = self.what.caller()?;
        let number = caller.number.as_deref().filter(|_| text::unlinkable(caller).is_none())?;
        Some(Number::parse(number))
    }

    /// The call of a step; `None` where nothing is to be called for it.
    fn call_of(&self, step: Step) -> Option<Call> {
        let missing = self.call.is_none();
        match step {
            Step::Known => Some(self.ask_known()),
            Step::Who if missing => who::ask(&self.peer, &self.number()?),
            Step::User if missing => self.ask_user(),
            Step::Record if missing => Some(Call::load(&self.peer.settings.model, self.whole_record())),
            Step::Record => self.rest_of_record().map(|row| Call::load(&self.peer.settings.model, row)),
            Step::Course => self.course(),
            Step::Revision => self.ask_revision(),
            Step::Transcript if !self.outdated => self.write_transcript(),
            _ => None,
        }
    }

    fn ask_known(&self) -> Call {
        let names = [self.external("call"), self.external(self.transcript_kind().0)];
        let domain = json!([["module", "=", MODULE], ["name", "in", names]]);
        Call::search_read("ir.model.data", domain, &["name", "model", "res_id"], "", names.len())
    }

    fn ask_user(&self) -> Option<Call> {
        let login = self.what.agent().filter(|_| self.peer.settings.agents_are_logins)?.id.as_deref()?;
        Some(Call::search_read("res.users", json!([["login", "=", login]]), &["login"], "", 1))
    }

    fn ask_revision(&self) -> Option<Call> {
        let (id, Milestone::Document(_)) = (self.transcript?, &self.what) else { return None };
        let model = self.transcript_kind().1;
        Some(Call::search_read(model, json!([["id", "=", id]]), &[self.revision_field()], "", 1))
    }

    fn revision_field(&self) -> &'static str {
        match self.peer.settings.transcript {
            TranscriptAs::Attachment => "description",
            TranscriptAs::Message => "subject",
        }
    }

    /// A record that is not there yet.
    fn whole_record(&self) -> Vec<(&'static str, Value)> {
        let mut row = vec![
            ("id", json!(format!("{MODULE}.{}", self.external("call")))),
            ("direction", json!("in")),
            ("date", json!(text::utc(self.what.began().unwrap_or(Wall(0))))),
        ];
        row.extend(self.outcome());
        let Some(caller) = self.what.caller() else {
            row.push(("name", json!("着信（記録は書き起こしのみ）")));
            return row;
        };
        let description = text::description(caller, self.what.called(), self.what.agent(), &self.people);
        row.extend([("name", json!(text::title(caller))), ("description", json!(description))]);
        row.extend(caller.number.as_deref().map(|number| ("partner_phone", json!(text::clean(number)))));
        row.extend(self.partner().map(|id| ("partner_id/.id", json!(id))));
        row.extend(self.user.map(|id| ("user_id/.id", json!(id))));
        row
    }

    /// What the end adds to a record that is there: what people may have changed in it meanwhile stays.
    fn rest_of_record(&self) -> Option<Vec<(&'static str, Value)>> {
        let Milestone::Ended(ended, _) = &self.what else { return None };
        let mut row = vec![
            ("id", json!(format!("{MODULE}.{}", self.external("call")))),
            ("date", json!(text::utc(ended.started))),
        ];
        row.extend(self.outcome());
        Some(row)
    }

    /// State and duration, which Odoo takes together only.
    fn outcome(&self) -> Vec<(&'static str, Value)> {
        let Milestone::Ended(ended, at) = &self.what else { return Vec::new() };
        let talked = ended.first_answered().and_then(|leg| leg.answered).map(|from| at.since(from));
        let state = if talked.is_some() { "done" } else { "cancel" };
        let minutes = talked.unwrap_or_default().as_secs_f64() / 60.0;
        vec![("state", json!(state)), ("duration", json!((minutes * 10_000.0).round() / 10_000.0))]
    }

    /// Whose call it is, when one contact alone has the number.
    fn partner(&self) -> Option<u64> {
        match self.people.all.as_slice() {
            [one] if !self.people.more => Some(one.id),
            _ => None,
        }
    }

    fn course(&self) -> Option<Call> {
        let Milestone::Ended(ended, at) = &self.what else { return None };
        Some(self.message("course", "通話の経過", text::course(ended, *at)))
    }

    /// A note in the record's log, which nobody is notified of and no customer sees.
    fn message(&self, kind: &str, subject: &str, html: String) -> Call {
        let row = vec![
            ("id", json!(format!("{MODULE}.{}", self.external(kind)))),
            ("model", json!(self.peer.settings.model)),
            ("res_id", json!(self.call)),
            ("subject", json!(subject)),
            ("body", json!(html)),
            ("message_type", json!("comment")),
            ("subtype_id/id", json!("mail.mt_note")),
            ("is_internal", json!("1")),
        ];
        Call::load("mail.message", row)
    }

    fn write_transcript(&self) -> Option<Call> {
        let Milestone::Document(document) = &self.what else { return None };
        let (kind, model) = self.transcript_kind();
        let revision = text::revision_text(document.revision);
        Some(match self.peer.settings.transcript {
            TranscriptAs::Message => self.message(kind, &revision, text::transcript_html(document)),
            TranscriptAs::Attachment => {
                let row = vec![
                    ("id", json!(format!("{MODULE}.{}", self.external(kind)))),
                    ("name", json!("書き起こし.txt")),
                    ("description", json!(revision)),
                    ("res_model", json!(self.peer.settings.model)),
                    ("res_id", json!(self.call)),
                    ("mimetype", json!("text/plain")),
                    ("datas", json!(STANDARD.encode(text::transcript(document)))),
                ];
                Call::load(model, row)
            }
        })
    }

    /// Takes the result of a step in; what comes after it.
    fn heard(&mut self, result: &Value) -> Result<Step, Answer> {
        match self.step {
            Step::Known => {
                for row in rows(result)? {
                    let kind = (row["name"].as_str().unwrap_or_default(), row["res_id"].as_u64());
                    if kind.0 == self.external("call") && row["model"] == self.peer.settings.model.as_str() {
                        self.call = kind.1;
                    } else if kind.0 == self.external(self.transcript_kind().0) {
                        self.transcript = kind.1;
                    }
                }
                self.was_there = self.call.is_some();
            }
            Step::Who => {
                let number = self.number().ok_or_else(|| odd("nobody was asked for").answer)?;
                self.people = who::of(&self.peer, &number, result)?;
            }
            Step::User => self.user = rows(result)?.first().and_then(|row| row["id"].as_u64()),
            Step::Revision => {
                let there = rows(result)?.first().and_then(|row| row[self.revision_field()].as_str());
                let there = there.and_then(text::revision_in).unwrap_or(0);
                self.outdated = matches!(&self.what, Milestone::Document(document) if document.revision < there);
            }
            Step::Record | Step::Course | Step::Transcript => return self.loaded(Loaded::of(result)),
            Step::Begin | Step::Done => {}
        }
        Ok(self.step.after())
    }

    fn loaded(&mut self, loaded: Loaded) -> Result<Step, Answer> {
        match loaded {
            Loaded::Record(id) => {
                if self.step == Step::Record {
                    self.call = Some(id);
                }
                Ok(self.step.after())
            }
            Loaded::Conflict(_) if self.conflicts < MOST_CONFLICTS => {
                self.conflicts += 1;
                Ok(self.step)
            }
            Loaded::Conflict(answer) => Err(answer),
            // somebody has deleted the record since: it is made anew
            Loaded::Not { .. } if self.step == Step::Record && self.was_there => {
                (self.call, self.was_there) = (None, false);
                Ok(Step::Who)
            }
            // somebody has deleted the contact or the user since: the record goes without
            Loaded::Not { field: Some(field), .. } if field == "partner_id" && self.partner().is_some() => {
                self.people = People::default();
                Ok(self.step)
            }
            Loaded::Not { field: Some(field), .. } if field == "user_id" && self.user.take().is_some() => Ok(self.step),
            Loaded::Not { answer, .. } => Err(answer),
        }
    }
}

impl Step {
    fn after(self) -> Step {
        match self {
            Step::Begin => Step::Known,
            Step::Known => Step::Who,
            Step::Who => Step::User,
            Step::User => Step::Record,
            Step::Record => Step::Course,
            Step::Course => Step::Revision,
            Step::Revision => Step::Transcript,
            Step::Transcript | Step::Done => Step::Done,
        }
    }
}

impl Job for Keep {
    type End = Answer;

    fn next(&mut self, reply: Option<Result<Value, Answer>>) -> Next<Answer> {
        let next = match reply {
            None => Ok(Step::Known),
            Some(result) => result.and_then(|result| self.heard(&result)),
        };
        self.step = match next {
            Ok(step) => step,
            Err(answer) => return Next::End(answer),
        };
        while self.step != Step::Done {
            if let Some(call) = self.call_of(self.step) {
                return Next::Call(call);
            }
            self.step = self.step.after();
        }
        Next::End(Answer::Delivered)
    }
}

fn rows(result: &Value) -> Result<&Vec<Value>, Answer> {
    result.as_array().ok_or_else(|| odd("records are no list").answer)
}
