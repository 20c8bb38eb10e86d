//! Which readings of the dictionary sound like a part of a text: tries over morae, searched with weighted edit distances.
//!
//! What is near enough as a whole has a first or a second half that is near enough for a half. So one walk goes forward through the readings and
//! begins with little tolerance, another one goes backward, and both soon have few nodes left. Each node has a sparse row of the distances that
//! can still become small enough. Each mora of the tries is compared with the text once, not once for each node.

use std::collections::HashMap;

use super::phones::{Phones, confusion, insertion};
use super::reading::{Mora, Sound};

/// Largest distance that any entry may have, in weighted morae.
const MAX_DISTANCE: f32 = 2.5;
/// Shorter readings, in morae, must be heard exactly.
const LEAST_INEXACT: usize = 4;
/// What sums of costs may differ by.
const ROUNDING: f32 = 1e-4;

/// The readings of a dictionary by their sound.
#[derive(Debug)]
pub(super) struct Index {
    forward: Trie,
    backward: Trie,
    /// The morae of the tries; nodes name them by their place here.
    morae: Vec<(Mora, Phones)>,
    known: HashMap<Mora, u16>,
    share: f32,
}

/// Readings in one direction.
#[derive(Debug)]
struct Trie {
    nodes: Vec<Node>,
    /// What is found may end with sounds that belong to no mora. Read backward that would be its beginning, and it begins later.
    extra: bool,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(u16, u32)>,
    targets: Vec<u32>,
    /// How far what was heard may be from the beginning of a reading that leads here; the largest of the readings at or below.
    limit: f32,
    /// The same for the readings that end here.
    whole: f32,
}

/// A stretch of a text that sounds like a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// The target that was given to [`Index::insert`].
    pub(super) target: usize,
    /// First sound.
    pub(super) from: usize,
    /// One past its last sound.
    pub(super) to: usize,
    /// Weighted distance in morae.
    pub(super) distance: f32,
}

/// A place in the text that a path of a trie can end at.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Sounds before it.
    at: u32,
    /// Where the match began.
    start: u32,
    cost: f32,
    /// The last sound belongs to no mora.
    extra: bool,
}

/// What it costs to hear each mora of the tries at each place of one text.
struct Costs {
    substitution: Vec<f32>,
    insertion: Vec<f32>,
    extra: Vec<f32>,
    sounds: usize,
}

impl Index {
    /// `share`: how much of a reading may differ from what was heard.
    pub(super) fn new(share: f32) -> Self {
        Self { forward: Trie::new(true), backward: Trie::new(false), morae: Vec::new(), known: HashMap::new(), share }
    }

    /// Adds a reading.
    pub(super) fn insert(&mut self, morae: &[Mora], target: usize) {
        let ids: Vec<u16> = morae.iter().map(|mora| self.id(*mora)).collect();
        let (whole, half) = (self.limit(ids.len()), ids.len() / 2);
        // what is heard between the halves belongs to the first
        let first = move |depth: usize| if depth <= half { whole / 2.0 + ROUNDING } else { whole };
        self.forward.insert(ids.iter().copied(), target, whole, first);
        if whole > 0.0 {
            let second = ids.len() - half;
            let second = move |depth: usize| if depth < second { whole / 2.0 + ROUNDING } else { whole };
            self.backward.insert(ids.iter().rev().copied(), target, whole, second);
        }
    }

    fn id(&mut self, mora: Mora) -> u16 {
        let fresh = self.morae.len() as u16;
        let id = *self.known.entry(mora).or_insert(fresh);
        if id == fresh {
            self.morae.push((mora, mora.phones()));
        }
        id
    }

    /// How far a reading of so many morae may be from what was heard.
    fn limit(&self, morae: usize) -> f32 {
        if morae < LEAST_INEXACT { 0.0 } else { (self.share * morae as f32).min(MAX_DISTANCE) }
    }

    /// Stretches of `sounds` that sound like a target, near enough: from the beginning of a word or kana whose first character is in `starts` to the
    /// end of one. Of each place that one can end or begin at, the nearest.
    pub(super) fn search(&self, sounds: &[Sound], starts: &dyn Fn(usize) -> bool) -> Vec<Found> {
        let begins: Vec<bool> = sounds.iter().map(|sound| sound.first && starts(sound.from)).collect();
        if !begins.contains(&true) {
            return Vec::new();
        }
        let costs = Costs::new(&self.morae, sounds);
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        self.forward.descend(0, &row(begins.iter().copied()), &costs, &mut forward);
        self.backward.descend(0, &row(sounds.iter().rev().map(|sound| sound.last)), &costs.reversed(), &mut backward);
        let turned = backward.into_iter().map(|found: Found| Found {
            from: sounds.len() - found.to,
            to: sounds.len() - found.from,
            ..found
        });
        let ends =
            |found: &Found| found.to.checked_sub(1).and_then(|at| sounds.get(at)).is_some_and(|sound| sound.last);
        let mut found: Vec<Found> = forward.into_iter().chain(turned).collect();
        found.retain(|found| begins.get(found.from) == Some(&true) && ends(found));
        found.sort_by(|a, b| {
            (a.target, a.from, a.to).cmp(&(b.target, b.from, b.to)).then(a.distance.total_cmp(&b.distance))
        });
        found.dedup_by_key(|found| (found.target, found.from, found.to));
        found
    }
}

/// The row before any mora: a match may begin where `begins` says so.
fn row(begins: impl Iterator<Item = bool>) -> Vec<Cell> {
    (0..)
        .zip(begins)
        .filter(|(_, begins)| *begins)
        .map(|(at, _)| Cell { at, start: at, cost: 0.0, extra: false })
        .collect()
}

impl Trie {
    fn new(extra: bool) -> Self {
        Self { nodes: vec![Node::default()], extra }
    }

    /// Adds a reading that may be `whole` off, and as far as `limit` says after so many of its morae.
    fn insert(&mut self, ids: impl Iterator<Item = u16>, target: usize, whole: f32, limit: impl Fn(usize) -> f32) {
        let mut at = 0;
        for (index, id) in ids.enumerate() {
            let fresh = self.nodes.len();
            let children = &mut self.nodes[at].children;
            at = match children.binary_search_by_key(&id, |child| child.0) {
                Ok(index) => children[index].1 as usize,
                Err(index) => {
                    children.insert(index, (id, fresh as u32));
                    self.nodes.push(Node::default());
                    fresh
                }
            };
            let node = &mut self.nodes[at];
            node.limit = node.limit.max(limit(index + 1));
        }
        let node = &mut self.nodes[at];
        node.targets.push(target as u32);
        node.whole = whole;
    }

    fn descend(&self, node: usize, row: &[Cell], costs: &Costs, found: &mut Vec<Found>) {
        let Some(node) = self.nodes.get(node) else { return };
        let mut next = Vec::with_capacity(row.len() + 4);
        for &(mora, child) in &node.children {
            let Some(below) = self.nodes.get(child as usize) else { continue };
            costs.step(usize::from(mora), row, below.limit, &mut next);
            if next.is_empty() {
                continue;
            }
            let near = |cell: &&Cell| cell.cost <= below.whole && cell.start < cell.at && (self.extra || !cell.extra);
            for cell in next.iter().filter(near).filter(|_| !below.targets.is_empty()) {
                let at = |&target: &u32| Found {
                    target: target as usize,
                    from: cell.start as usize,
                    to: cell.at as usize,
                    distance: cell.cost,
                };
                found.extend(below.targets.iter().map(at));
            }
            self.descend(child as usize, &next, costs, found);
        }
    }
}

impl Costs {
    fn new(morae: &[(Mora, Phones)], sounds: &[Sound]) -> Self {
        let phones: Vec<_> = sounds.iter().map(|sound| sound.mora.phones()).collect();
        let mut substitution = Vec::with_capacity(morae.len() * sounds.len());
        for &(mora, own) in morae {
            let heard = sounds.iter().zip(&phones);
            substitution
                .extend(heard.map(|(sound, phones)| if sound.mora == mora { 0.0 } else { confusion(own, *phones) }));
        }
        Costs {
            substitution,
            insertion: morae.iter().map(|&(mora, _)| insertion(mora)).collect(),
            extra: sounds.iter().map(|sound| insertion(sound.mora)).collect(),
            sounds: sounds.len(),
        }
    }

    /// The same of the text read backward.
    fn reversed(&self) -> Self {
        let rows = self.substitution.chunks(self.sounds.max(1));
        Costs {
            substitution: rows.flat_map(|row| row.iter().rev().copied()).collect(),
            insertion: self.insertion.clone(),
            extra: self.extra.iter().rev().copied().collect(),
            sounds: self.sounds,
        }
    }

    /// The row after one more mora, without what is above `limit`.
    fn step(&self, mora: usize, row: &[Cell], limit: f32, next: &mut Vec<Cell>) {
        next.clear();
        let missing = self.insertion.get(mora).copied().unwrap_or(1.0);
        let here = self.substitution.get(mora * self.sounds..(mora + 1) * self.sounds).unwrap_or_default();
        // cells are in order of place; each gives one at its own place (not heard) and one at the next (heard as something)
        for cell in row {
            if cell.cost + missing <= limit {
                offer(next, Cell { cost: cell.cost + missing, extra: false, ..*cell }, limit, &self.extra);
            }
            if let Some(cost) = here.get(cell.at as usize).filter(|cost| cell.cost + **cost <= limit) {
                let heard = Cell { at: cell.at + 1, start: cell.start, cost: cell.cost + cost, extra: false };
                offer(next, heard, limit, &self.extra);
            }
        }
    }
}

/// Puts a cell in its place when it is the cheapest there, and what follows from it by extra sounds.
fn offer(row: &mut Vec<Cell>, mut cell: Cell, limit: f32, extra: &[f32]) {
    loop {
        // at most a few from the end, because cells come almost in order
        let place = row.iter().rposition(|known| known.at <= cell.at);
        match place.and_then(|place| row.get_mut(place).filter(|known| known.at == cell.at)) {
            Some(known) if known.cost <= cell.cost => return,
            Some(known) => *known = cell,
            None => row.insert(place.map_or(0, |place| place + 1), cell),
        }
        match extra.get(cell.at as usize) {
            Some(more) if cell.cost + more <= limit => {
                cell = Cell { at: cell.at + 1, start: cell.start, cost: cell.cost + more, extra: true };
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::phones::substitution;
    use super::super::reading::{morae, readings};
    use super::*;

    /// The plain dynamic programme over the whole table, one reading at a time: where a match can end, and what it costs.
    fn plainly(reading: &[Mora], sounds: &[Sound], anywhere: bool) -> Vec<f32> {
        let begin =
            |(at, sound): (usize, &Sound)| if at == 0 || (anywhere && sound.first) { 0.0 } else { f32::INFINITY };
        let mut row: Vec<f32> = sounds.iter().enumerate().map(begin).collect();
        row.push(f32::INFINITY);
        for &mora in reading {
            let mut next = vec![row[0] + insertion(mora)];
            for j in 1..row.len() {
                let heard = sounds[j - 1].mora;
                let changed = row[j - 1] + if heard == mora { 0.0 } else { substitution(mora, heard) };
                next.push((row[j] + insertion(mora)).min(changed).min(next[j - 1] + insertion(heard)));
            }
            row = next;
        }
        row
    }

    #[test]
    fn the_walk_finds_what_the_plain_table_finds() {
        let words = [
            "ズイコウ",
            "ナカザキチョウ",
            "ミクニ",
            "ミクニホンマチ",
            "デト",
            "カシマ",
            "キタオカジマ",
            "ダイドウミナミ",
            "ヒラバヤシ",
        ];
        let (share, mut matches) = (0.3, 0);
        let mut index = Index::new(share);
        for (target, word) in words.iter().enumerate() {
            index.insert(&morae(word), target);
        }
        for text in [
            "ズイコー行きのバス",
            "来月キタアジカに引っ越します",
            "ナカサキチョーのミグニホンマチ",
            "ダイドオミナミカシマ",
            "",
            "abc",
            "ーーン",
        ] {
            let chars: Vec<char> = text.chars().collect();
            for reading in readings(&chars, 4) {
                let found = index.search(&reading.sounds, &|_| true);
                for (target, word) in words.iter().enumerate() {
                    let morae = morae(word);
                    let limit = index.limit(morae.len());
                    let own = || found.iter().filter(|found| found.target == target);
                    for (to, cost) in plainly(&morae, &reading.sounds, true).into_iter().enumerate().skip(1) {
                        let near = cost <= limit && cost < morae.len() as f32 - 0.01 && reading.sounds[to - 1].last;
                        let no_farther = |found: &Found| found.distance <= cost + 1e-3;
                        assert!(!near || own().any(no_farther), "{word} in {text} to {to}: {cost}, {found:?}");
                    }
                    for one in own() {
                        let (first, last) = (reading.sounds[one.from], reading.sounds[one.to - 1]);
                        let cost = plainly(&morae, &reading.sounds[one.from..one.to], false).pop().unwrap();
                        assert!(first.first && last.last && one.distance <= limit, "{word} in {text}: {one:?}");
                        assert!(one.distance >= cost - 1e-3, "{word} in {text}: {one:?}, {cost}");
                        matches += 1;
                    }
                }
            }
        }
        assert!(matches > 20, "{matches}");
    }
}
