//! Who calls, in every driver's words: the identity, why a number is missing, what kind of caller it is, from where the call was diverted.

use serde::{Deserialize, Serialize};

/// Longest number, name or address that is kept of what an exchange says, in characters.
const LONGEST_NUMBER: usize = 64;
/// As above, for display names.
const LONGEST_DISPLAY: usize = 128;

/// The caller's or callee's identity as the exchange gave it, before any look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Number or user part as received; `None` when it was withheld or absent.
    pub number: Option<String>,
    /// Display name as received (already decoded to Unicode).
    pub display: Option<String>,
    /// Why there is no number, when the exchange said so.
    pub withheld: Option<Withheld>,
    /// What else is known of the caller; each at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Whether the network has verified the number, as a trusted exchange says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verstat: Option<Verstat>,
    /// The line that was dialled first, when the call was diverted to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverted: Option<Diverted>,
    /// Identity headers (RFC 8224) byte for byte, for a later verification; dropped with a withheld number, which they contain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
}

/// The reasons for a missing caller number (notes on TTC JJ-90.30; TS 24.008 cause of no CLI).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// 非通知: refused by the caller (184).
    Refused,
    /// 公衆電話.
    Payphone,
    /// サービス競合.
    ServiceConflict,
    /// 表示圏外.
    Unavailable,
}

/// What the operator should know of the caller beyond the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tag {
    /// 公衆電話 (`cpc=payphone`).
    Payphone,
    /// An operator of the network (`cpc=operator`).
    Operator,
    /// A test call (`cpc=test`).
    Test,
    /// Police, fire or coast guard call back (RFC 7090, `Priority: psap-callback`).
    EmergencyCallback,
    /// 電話リレーサービス: an interpreter speaks for the caller (`[identity] relay_prefixes`).
    Relay,
}

/// What the network says of its check of the number (`verstat`, TS 24.229 §7.2A.20; RFC 8588 for how it is attested).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verstat {
    /// TN-Validation-Passed.
    Passed,
    /// TN-Validation-Failed: the number may be forged.
    Failed,
    /// No-TN-Validation.
    NotVerified,
}

/// From where a call was diverted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverted {
    /// The line that was dialled first, as received; `None` when it is private.
    pub number: Option<String>,
    /// Why it was diverted there.
    pub reason: Option<DivertReason>,
}

/// Why a call was diverted (RFC 5806 §4.1; RFC 4458 §2 for the causes of History-Info).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DivertReason {
    /// Always.
    Unconditional,
    /// The line was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The line could not be reached.
    Unavailable,
    /// Passed on by hand before it was answered.
    Deflection,
    /// Time of day, do not disturb, follow me and what else there is.
    Other,
}

/// The four reasons that Japanese carriers send as display names (TTC JJ-90.30; TS 24.008 cause of no CLI), by prefix, and the words that
/// exchanges put in their place. Such a text is a reason and never a person's name.
pub(crate) fn withheld(text: &str) -> Option<Withheld> {
    const REASONS: [(&str, Withheld); 14] = [
        ("anonymous", Withheld::Refused),
        ("restricted", Withheld::Refused),
        ("private", Withheld::Refused),
        ("withheld", Withheld::Refused),
        ("非通知", Withheld::Refused),
        ("番号非通知", Withheld::Refused),
        ("coin line", Withheld::Payphone),
        ("payphone", Withheld::Payphone),
        ("公衆電話", Withheld::Payphone),
        ("interaction with other service", Withheld::ServiceConflict),
        ("サービス競合", Withheld::ServiceConflict),
        ("unavailable", Withheld::Unavailable),
        ("表示圏外", Withheld::Unavailable),
        ("通知圏外", Withheld::Unavailable),
    ];
    let text = text.trim().to_lowercase();
    REASONS.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, why)| *why)
}

/// A number or user part, bounded.
pub(crate) fn bounded_number(text: &str) -> Option<String> {
    bounded(text, LONGEST_NUMBER)
}

/// A display name, bounded; `None` when it only repeats the number or says why there is none.
pub(crate) fn bounded_display(text: &str, number: Option<&str>) -> Option<String> {
    bounded(text, LONGEST_DISPLAY).filter(|name| Some(name.as_str()) != number && withheld(name).is_none())
}

fn bounded(text: &str, most: usize) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(most).collect();
    (!text.is_empty()).then_some(text)
}
