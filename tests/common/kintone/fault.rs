//! What goes wrong on demand.

use std::collections::VecDeque;
use std::time::Duration;

/// What a request meets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing is done; a page in HTML with this status, as in maintenance (503).
    Html(u16),
    /// Nothing is done; an error of the API with this status and code, as 520 `GAIA_…`.
    Error(u16, &'static str),
    /// Nothing is done: somebody else writes (400 `GAIA_DA02`); to be tried again.
    Busy,
    /// Nothing is done, and no answer comes.
    Deaf,
    /// It is done, and no answer comes: who asked cannot know.
    Lost,
    /// It is done, and the connection is cut within the answer.
    Cut,
    /// It is done, and the answer is not JSON.
    Garbage,
    /// It is done after this time.
    Slow(Duration),
    /// It waits until it is released, and is done then.
    Held,
}

/// Faults to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(VecDeque<Planned>);

#[derive(Debug)]
struct Planned {
    /// Only requests to this resource.
    resource: Option<String>,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub(crate) fn plan(&mut self, resource: Option<String>, left: usize, fault: Fault) {
        self.0.push_back(Planned { resource, left, fault });
    }

    /// The fault that a request to this resource meets.
    pub(crate) fn next(&mut self, resource: &str) -> Option<Fault> {
        let fits = |planned: &&mut Planned| planned.resource.as_deref().is_none_or(|wanted| wanted == resource);
        let planned = self.0.iter_mut().filter(|planned| planned.left > 0).find(fits)?;
        planned.left -= 1;
        let fault = planned.fault.clone();
        self.0.retain(|planned| planned.left > 0);
        Some(fault)
    }
}
