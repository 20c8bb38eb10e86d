//! What the last run left: contacts that were open are taken up, and a call that goes on is known again.

use super::Hub;
use crate::media::segment;
use crate::outbox::ContactRow;
use crate::pbx::{CallKey, StreamId};
use crate::session::{Session, State};
use crate::time::{MediaTime, Now, Wall};

impl Hub {
    /// Takes up the contacts that were open when the bridge stopped.
    pub(super) fn resume(&mut self, now: Now) {
        let rows = match self.setup.outbox.open_contacts() {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "open contacts cannot be read; they stay open until the next start");
                return;
            }
        };
        for row in rows {
            if let Err(problem) = self.resume_one(now, &row) {
                tracing::error!(contact = %row.id, problem, "a contact cannot be taken up; its events are kept and delivered");
            }
        }
    }

    fn resume_one(&mut self, now: Now, row: &ContactRow) -> Result<(), String> {
        let setup = self.setup.sites.iter().find(|setup| setup.site.id == row.site);
        let site = setup.ok_or_else(|| format!("no [[site]] has the id \"{}\"", row.site))?.site.clone();
        let state = State::parse(&row.state).map_err(|error| error.to_string())?;
        let events = self.setup.outbox.events_of(row.id).map_err(|error| error.to_string())?;
        let audio = &self.setup.audio;
        let heard = |stream: StreamId| segment::scan(audio, stream).ok().flatten();
        let end = |(stream, origin): (StreamId, Option<Wall>)| {
            heard(stream).map(|extent| {
                let length = MediaTime::of_sample(extent.samples, extent.rate).duration();
                origin.unwrap_or(extent.origin) + length
            })
        };
        let heard_until = state.streams().filter_map(end).max();
        let session = Session::resume(now, site, &row.state, &events, heard_until).map_err(|e| e.to_string())?;
        self.streams.extend(state.streams().map(|(stream, _)| (stream, row.id)));
        self.sessions.insert(row.id, session);
        self.after(now, row.id);
        Ok(())
    }

    /// The contact that the same call had when the bridge was stopped or killed.
    pub(super) fn before(&self, call: &CallKey) -> Option<ContactRow> {
        let row = self.setup.outbox.last_contact_of(call).inspect_err(
            |error| tracing::error!(%error, "whether a call was known before cannot be read; it is taken as new"),
        );
        row.ok().flatten()
    }
}
