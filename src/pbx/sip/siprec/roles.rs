//! Who of the people of one call is the caller and who an agent. A role that was told once stays.

use std::collections::BTreeMap;

use super::Hints;
use super::picture::Rules;

/// What somebody is to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// The citizen.
    Caller,
    /// Somebody whose leg is told: of the directory, or who stands for one.
    Agent,
    /// Somebody else.
    Third,
}

/// One person, as far as roles go.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: String,
    /// Users of its addresses, as numbers or names.
    pub(super) users: Vec<String>,
    /// Whole addresses, `user@host`, lower case.
    pub(super) addresses: Vec<String>,
    /// Called the others.
    pub(super) calling: bool,
}

impl Person {
    /// The extension under which the directory knows it.
    pub(super) fn extension(&self, rules: &Rules<'_>) -> Option<&String> {
        self.users.iter().find(|user| (rules.is_agent)(user))
    }

    /// Whether a vendor's word names it: the whole address, or the digits of its number as far as both have them (national and
    /// international forms of a number end alike).
    fn is_named(&self, word: &str) -> bool {
        let word = word.trim().to_ascii_lowercase();
        let address = word.split_once(':').map_or(word.as_str(), |(scheme, rest)| match scheme {
            "sip" | "sips" | "tel" => rest,
            _ => word.as_str(),
        });
        let address = address.split(';').next().unwrap_or_default();
        let user = address.split('@').next().unwrap_or_default();
        let same = |own: &String| own.eq_ignore_ascii_case(user) || alike(own, user);
        self.addresses.iter().any(|own| own == address) || self.users.iter().any(same)
    }
}

/// Seven digits or more at the end are the same, and one of both is no longer than that.
fn alike(one: &str, other: &str) -> bool {
    let significant = |text: &str| {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').to_string()
    };
    let (one, other) = (significant(one), significant(other));
    one.len().min(other.len()) >= 7 && (one.ends_with(&other) || other.ends_with(&one))
}

/// The role of each of `people`, in their order; `before` holds those that were told already.
pub(super) fn roles(
    people: &[Person],
    hints: &Hints,
    rules: &Rules<'_>,
    before: &BTreeMap<String, Role>,
) -> Vec<Option<Role>> {
    let mut roles: Vec<Option<Role>> = people.iter().map(|person| before.get(&person.id).copied()).collect();
    let known: Vec<bool> = people.iter().map(|person| person.extension(rules).is_some()).collect();
    let one = |word: &Option<String>| {
        let word = word.as_deref()?;
        let mut named = people.iter().enumerate().filter(|(_, person)| person.is_named(word));
        named.next().filter(|_| named.next().is_none()).map(|(place, _)| place)
    };
    let calling = people.iter().position(|person| person.calling).or_else(|| one(&hints.calling));
    // the number that the recorded user is reached by or calls from tells them too
    let side = match hints.incoming {
        Some(true) => one(&hints.called),
        Some(false) => calling,
        None => None,
    };
    let recorded = one(&hints.recorded).or(side);
    let called_before = before.values().any(|role| *role == Role::Caller);
    let agents = known.contains(&true) || before.values().any(|role| *role == Role::Agent);
    if !called_before {
        let caller = caller(people.len(), &known, recorded, calling, rules);
        if let Some(role) = caller.and_then(|place| roles.get_mut(place)).filter(|role| role.is_none()) {
            *role = Some(Role::Caller);
        }
    }
    // who is no caller is an agent when the directory says so; else where it says nothing of anybody, the first one
    let mut free = !known.contains(&true) && !roles.contains(&Some(Role::Agent));
    let first = recorded.filter(|place| roles.get(*place) == Some(&None));
    for place in first.into_iter().chain(0..people.len()) {
        let is_known = known.get(place).copied().unwrap_or_default();
        let Some(role) = roles.get_mut(place).filter(|role| role.is_none()) else { continue };
        *role = match is_known || (free && (people.len() > 1 || agents || called_before)) {
            true => Some(Role::Agent),
            false if people.len() > 1 || called_before => Some(Role::Third),
            false => None,
        };
        free &= is_known || *role != Some(Role::Agent);
    }
    roles
}

/// The caller among people of whom none was told yet.
fn caller(
    people: usize,
    known: &[bool],
    recorded: Option<usize>,
    calling: Option<usize>,
    rules: &Rules<'_>,
) -> Option<usize> {
    let outside = |place: usize| known.get(place) == Some(&false);
    let strangers: Vec<usize> = (0..people).filter(|place| outside(*place) && Some(*place) != recorded).collect();
    let by_directory = known.contains(&true);
    match (strangers.as_slice(), people) {
        (_, 0) => None,
        // one alone, of whom nothing is known
        ([alone], 1) => Some(*alone).filter(|_| recorded.is_none() && !rules.agent_first),
        ([], 1) => None,
        // nobody from outside: one extension calls another
        ([], _) => calling.filter(|place| Some(*place) != recorded).or_else(|| {
            let mut others = (0..people).filter(|place| Some(*place) != recorded);
            if rules.agent_first && recorded.is_none() { others.next_back() } else { others.next() }
        }),
        (strangers, _) => {
            let told = calling.filter(|place| strangers.contains(place));
            let ordered = if by_directory || recorded.is_some() || !rules.agent_first {
                strangers.first()
            } else {
                strangers.get(1).or(strangers.first())
            };
            told.or(ordered.copied())
        }
    }
}
