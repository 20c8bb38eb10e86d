//! The call model: one contact, its legs and parties, and the one way a leg ends. Model only: no IO, no clock.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub mod caller;
pub mod contact;
pub mod context;
pub mod correction;
pub mod directory;
pub mod line;
pub mod note;
pub mod number;
pub mod passing;
pub mod pause;
pub mod scope;
pub mod secret;

/// One citizen's contact, from first sight to hang-up; the id is published and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct ContactId(pub Uuid);

/// One telephone's part in a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct LegId(pub Uuid);

impl std::fmt::Display for ContactId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for LegId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where in the escalation chain a leg stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// 一次応答: the machine (AI or announcement) that answers first.
    First,
    /// 二次応答: an operator.
    #[default]
    Second,
    /// 三次応答: department staff.
    Third,
}
