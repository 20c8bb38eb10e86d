//! What is known of a contact before and besides the call, and what operators add to it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Output, Session};
use crate::call::context::{MOST_OF_CONTACT, Posted, Target};
use crate::call::note::{Annotation, MARK_NOTE, MOST_MARKS, Mark, NOTE, Refused};
use crate::events::{ContactContext, ContactMarked, ContactNote, ContactUnmarked, Data, NAMESPACE};
use crate::pbx::KeyKind;
use crate::time::{Now, Wall};
use crate::transcript::mask::{Policy, mask};

/// A context that the contact has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Attached {
    pub(super) posted: Posted,
    pub(super) at: Wall,
}

impl Attached {
    pub(super) fn shown(&self) -> ContactContext {
        ContactContext {
            context: self.posted.id,
            version: self.posted.version,
            from: self.posted.from.clone(),
            by: self.posted.target.by(),
            posted: self.posted.posted,
            attached: self.at,
            removed: false,
            known: self.posted.known.clone(),
        }
    }
}

impl Session {
    /// By what contexts find this contact: its caller's number and its tokens.
    pub fn found_by(&self) -> Vec<Target> {
        let number = self.contact.caller_shown().number.map(Target::Number);
        let tokens = self.contact.keys.iter().filter(|key| key.kind == KeyKind::Token);
        number.into_iter().chain(tokens.map(|key| Target::Token(key.value.clone()))).collect()
    }

    /// The context with this id, if the contact has it.
    pub fn context(&self, id: Uuid) -> Option<&Posted> {
        self.contexts.iter().map(|attached| &attached.posted).find(|posted| posted.id == id)
    }

    /// Attaches a context, or a later version of it; `false` when the contact has ended or has too many.
    pub fn attach(&mut self, now: Now, posted: Posted) -> bool {
        if self.contact.ended.is_some() {
            return false;
        }
        let attached = Attached { posted, at: now.wall };
        let full = self.contexts.len() >= MOST_OF_CONTACT;
        match self.contexts.iter_mut().find(|known| known.posted.id == attached.posted.id) {
            Some(known) if known.posted == attached.posted => return true,
            Some(known) => *known = attached.clone(),
            None if full => return false,
            None => self.contexts.push(attached.clone()),
        }
        self.record(now.wall, None, Data::ContactContext(attached.shown()));
        self.why_changed(now);
        true
    }

    /// Takes a context away again; `false` when the contact has not got it.
    pub fn detach(&mut self, now: Now, id: Uuid) -> bool {
        let Some(index) = self.contexts.iter().position(|attached| attached.posted.id == id) else { return false };
        if self.contact.ended.is_some() {
            return false;
        }
        let gone = self.contexts.remove(index).shown();
        let gone = ContactContext { removed: true, known: Default::default(), attached: now.wall, ..gone };
        self.record(now.wall, None, Data::ContactContext(gone));
        self.why_changed(now);
        true
    }

    /// Begins with what the same call's contact had when the bridge stopped.
    pub(super) fn continue_contexts(&mut self, now: Now, before: Vec<Attached>) {
        for attached in before {
            self.attach(now, attached.posted);
        }
    }

    fn why_changed(&mut self, now: Now) {
        for data in self.pops.revise(&self.contact, &self.line, &self.found) {
            self.realtime(now.wall, data);
        }
        self.touch_handovers(None);
        self.tell_handovers(now);
    }

    /// Does what an operator asks; gives the mark that it is about.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn annotate(&mut self, now: Now, annotation: &Annotation) -> Result<Option<Uuid>, Refused> {
        let done = match annotation {
            Annotation::Mark { utterance, note } => self.mark(now, utterance, note.as_deref()).map(Some),
            Annotation::Unmark(mark) => self.unmark(now, *mark).map(|()| Some(*mark)),
            Annotation::Note(text) => {
                self.note(now, text);
                Ok(None)
            }
        }?;
        self.touch_handovers(None);
        self.tell_handovers(now);
        Ok(done)
    }

    fn mark(&mut self, now: Now, utterance: &str, note: Option<&str>) -> Result<Uuid, Refused> {
        let turn = self.document.turn(utterance).ok_or(Refused::NoUtterance)?;
        let name = format!("mark\0{}\0{utterance}", self.contact.id);
        let mark = Mark {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            utterance: utterance.into(),
            leg: turn.leg,
            speaker: turn.speaker,
            start: turn.start,
            note: note.map(|text| self.written(text, MARK_NOTE)).filter(|text| !text.is_empty()),
        };
        let (id, full) = (mark.id, self.marks.len() >= MOST_MARKS);
        match self.marks.iter_mut().find(|known| known.id == id) {
            Some(known) if *known == mark => return Ok(id),
            Some(known) => *known = mark.clone(),
            None if full => return Err(Refused::Full),
            None => self.marks.push(mark.clone()),
        }
        let shown = self.marked(&mark);
        self.record(now.wall, Some(mark.leg), Data::ContactMarked(shown));
        Ok(id)
    }

    fn unmark(&mut self, now: Now, mark: Uuid) -> Result<(), Refused> {
        let index = self.marks.iter().position(|known| known.id == mark).ok_or(Refused::NoMark)?;
        let gone = self.marks.remove(index);
        let data = ContactUnmarked { mark, utterance: gone.utterance };
        self.record(now.wall, Some(gone.leg), Data::ContactUnmarked(data));
        Ok(())
    }

    fn note(&mut self, now: Now, text: &str) {
        let text = self.written(text, NOTE);
        if self.note.as_deref().unwrap_or_default() == text {
            self.out.push_back(Output::Save);
            return;
        }
        self.note = Some(text.clone()).filter(|text| !text.is_empty());
        self.record(now.wall, None, Data::ContactNote(ContactNote { text }));
    }

    /// A mark with what was said there.
    pub(super) fn marked(&self, mark: &Mark) -> ContactMarked {
        ContactMarked {
            mark: mark.id,
            utterance: mark.utterance.clone(),
            leg: mark.leg,
            speaker: mark.speaker,
            start: mark.start,
            text: self.document.turn(&mark.utterance).and_then(|turn| turn.text.clone()),
            note: mark.note.clone(),
        }
    }

    /// What a person wrote, cut to `most` characters, with its numbers masked.
    fn written(&self, text: &str, most: usize) -> String {
        let text: String = text.trim().chars().take(most).collect();
        mask(&text, Policy { mask: self.masked() }).text
    }
}
