//! The words of the dictionary that apply to a contact, also for texts whose decode began before the dictionary was replaced.
//!
//! Every text is made by one version: what was decoded with the help of one is put right by the same one, and says its version.

use std::sync::Arc;

use super::{Session, Site};
use crate::call::line::Line;
use crate::call::scope::Scopes;
use crate::dictionary::{Corrected, Dictionary};
use crate::speech::Hypothesis;

/// Replaced dictionaries that are kept for texts that are under way; texts of older ones stay as they were decoded.
const EARLIER: usize = 2;

/// What a contact needs to find its words.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// What the call is.
    pub(super) scopes: Scopes,
    /// The newest first.
    earlier: Vec<Arc<Dictionary>>,
}

impl Words {
    pub(super) fn new(site: &Site, line: &Line) -> Self {
        Self { scopes: Scopes::of_call(&site.id, line), earlier: Vec::new() }
    }
}

impl Session {
    /// Uses the site's reloaded directory and dictionary from now on.
    pub fn reload(&mut self, site: Site) {
        let before = std::mem::replace(&mut self.site, site);
        if before.dictionary.version() != self.site.dictionary.version() {
            self.words.earlier.insert(0, before.dictionary);
            self.words.earlier.truncate(EARLIER);
        }
    }

    /// The corrected text of a hypothesis, and the version of the dictionary that made it.
    pub(super) fn correct(&self, hypothesis: &Hypothesis) -> (Corrected, String) {
        let used = hypothesis.dictionary.as_str();
        let all = [&self.site.dictionary].into_iter().chain(&self.words.earlier);
        let mut words = all.map(|dictionary| dictionary.on(&self.words.scopes));
        match words.find(|words| used.is_empty() || words.version() == used) {
            Some(words) => (words.correct(hypothesis), words.version().to_owned()),
            None => {
                let text = hypothesis.text.clone();
                (Corrected { text, corrections: Vec::new() }, used.to_owned())
            }
        }
    }
}
