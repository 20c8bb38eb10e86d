//! The caller as people and systems outside see them; `[identity]` of the configuration.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::number::{Number, NumberKind};
use crate::events::{Caller, DivertedFrom};
use crate::pbx::{Identity, Signal, Tag};

/// Fewest digits of a prefix behind the country code; a shorter one would mark half of the country.
const LEAST_DIGITS: usize = 4;

/// What a site knows of callers' numbers beyond the numbering plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Beginnings of the numbers that the telephone relay service (電話リレーサービス) calls from, `050…` or `+8150…`; such callers are marked.
    pub relay_prefixes: Vec<String>,
}

impl Settings {
    /// Refuses prefixes that are no beginning of a number.
    ///
    /// # Errors
    /// What is wrong with the first bad one, and what is expected.
    pub fn check(&self) -> Result<(), String> {
        match self.relay_prefixes.iter().find(|prefix| beginning(prefix).is_none()) {
            Some(prefix) => Err(format!(
                "\"{prefix}\" is no beginning of a number; expected 0 or +81 and at least {LEAST_DIGITS} digits, for example 050-1234"
            )),
            None => Ok(()),
        }
    }

    /// Adds to what the exchange says of a caller what the site knows of the number.
    pub fn mark<'a>(&self, signal: &'a Signal) -> Cow<'a, Signal> {
        let (Signal::CallAppeared { caller, .. } | Signal::CallerIdentified(caller)) = signal else {
            return Cow::Borrowed(signal);
        };
        if !self.is_relay(caller) || caller.tags.contains(&Tag::Relay) {
            return Cow::Borrowed(signal);
        }
        let mut marked = signal.clone();
        if let Signal::CallAppeared { caller, .. } | Signal::CallerIdentified(caller) = &mut marked {
            caller.tags.push(Tag::Relay);
        }
        Cow::Owned(marked)
    }

    fn is_relay(&self, caller: &Identity) -> bool {
        let number = caller.number.as_deref().map(Number::parse);
        let Some(number) = number.as_ref().and_then(Number::e164) else { return false };
        self.relay_prefixes.iter().filter_map(|prefix| beginning(prefix)).any(|prefix| number.starts_with(&prefix))
    }
}

/// `050-1234` → `+81501234`.
fn beginning(prefix: &str) -> Option<String> {
    let text: String = prefix.nfkc().filter(|c| !c.is_whitespace() && !"-()".contains(*c)).collect();
    let national = text.strip_prefix("+81").or_else(|| text.strip_prefix('0'))?;
    let fits = national.len() >= LEAST_DIGITS && national.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| format!("+81{national}"))
}

/// An identity as events show it.
pub fn shown(identity: &Identity) -> Caller {
    let number = identity.number.as_deref().map(Number::parse);
    let kind = number.as_ref().map(Number::kind).filter(|kind| *kind != NumberKind::Unknown);
    Caller {
        number: number.as_ref().and_then(|number| number.e164().map(str::to_string)),
        raw: identity.number.clone(),
        display: identity.display.clone(),
        withheld: identity.withheld,
        kind,
        tags: identity.tags.clone(),
        verstat: identity.verstat,
        diverted: identity.diverted.as_ref().map(|diverted| DivertedFrom {
            number: diverted.number.as_deref().and_then(|raw| Number::parse(raw).e164().map(str::to_string)),
            raw: diverted.number.clone(),
            reason: diverted.reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(number: &str) -> Signal {
        Signal::CallerIdentified(Identity { number: Some(number.into()), ..Identity::default() })
    }

    #[test]
    fn callers_of_the_relay_service_are_marked_by_prefix() {
        let settings = Settings { relay_prefixes: vec!["050-1234".into(), "+81 50 9999 0".into()] };
        settings.check().unwrap();
        let marked = |number: &str| match settings.mark(&identified(number)).into_owned() {
            Signal::CallerIdentified(caller) => caller.tags.contains(&Tag::Relay),
            _ => false,
        };
        for number in ["05012345678", "+815012345678", "050-9999-0123"] {
            assert!(marked(number), "{number}");
        }
        for number in ["05012245678", "050-9999-1123", "0501234567", "501234", "2001"] {
            assert!(!marked(number), "{number}");
        }
        assert!(matches!(Settings::default().mark(&identified("05012345678")), Cow::Borrowed(_)));
    }

    #[test]
    fn a_prefix_that_means_too_much_is_refused() {
        for prefix in ["", "050", "+81", "1234567", "050x123", "+1212555"] {
            let error = Settings { relay_prefixes: vec![prefix.into()] }.check().unwrap_err();
            assert!(error.contains("050-1234"), "{prefix}: {error}");
        }
    }
}
