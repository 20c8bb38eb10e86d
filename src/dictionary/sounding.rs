//! Which readings of the dictionary sound like a part of a text: a trie over morae, searched with weighted edit distances.
//!
//! One depth-first walk; each node has a sparse row of the distances that can still become small enough. Each mora of the trie is compared with the
//! text once, not once for each node.

use std::collections::HashMap;

use super::reading::{Mora, Sound, confusion, insertion};

/// Largest distance that any entry may have, in weighted morae.
const MAX_DISTANCE: f32 = 2.5;
/// Shorter readings, in morae, must be heard exactly.
const LEAST_INEXACT: usize = 4;

/// The trie.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<Node>,
    /// The morae of the trie; nodes name them by their place here.
    morae: Vec<Mora>,
    known: HashMap<Mora, u16>,
    share: f32,
}

/// A node of the trie.
#[derive(Debug, Default)]
struct Node {
    children: Vec<(u16, u32)>,
    targets: Vec<u32>,
    /// Morae of the longest reading at or below this node.
    longest: u16,
    /// Morae of the readings that end here.
    depth: u16,
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

/// A place in the text that a path of the trie can end at.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Sounds before it.
    at: usize,
    cost: f32,
    /// Where the match began.
    start: usize,
}

/// What it costs to hear each mora of the trie at each place of one text.
struct Costs {
    substitution: Vec<f32>,
    insertion: Vec<f32>,
    extra: Vec<f32>,
    sounds: usize,
}

impl Index {
    /// `share`: how much of a reading may differ from what was heard.
    pub(super) fn new(share: f32) -> Self {
        Self { nodes: vec![Node::default()], morae: Vec::new(), known: HashMap::new(), share }
    }

    /// Adds a reading.
    pub(super) fn insert(&mut self, morae: &[Mora], target: usize) {
        let (length, mut at) = (u16::try_from(morae.len()).unwrap_or(u16::MAX), 0);
        for mora in morae {
            let id = self.id(*mora);
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            node.longest = node.longest.max(length);
            let depth = node.depth + 1;
            at = match node.children.binary_search_by_key(&id, |child| child.0) {
                Ok(index) => node.children[index].1 as usize,
                Err(index) => {
                    node.children.insert(index, (id, fresh as u32));
                    self.nodes.push(Node { depth, ..Node::default() });
                    fresh
                }
            };
        }
        let node = &mut self.nodes[at];
        node.longest = node.longest.max(length);
        node.targets.push(target as u32);
    }

    fn id(&mut self, mora: Mora) -> u16 {
        let fresh = self.morae.len() as u16;
        let id = *self.known.entry(mora).or_insert(fresh);
        if id == fresh {
            self.morae.push(mora);
        }
        id
    }

    /// How far a reading of `morae` may be from what was heard.
    fn limit(&self, morae: u16) -> f32 {
        if usize::from(morae) < LEAST_INEXACT { 0.0 } else { (self.share * f32::from(morae)).min(MAX_DISTANCE) }
    }

    /// All stretches of `sounds` that sound like a target, near enough: from the beginning of a word or kana whose first character is in `starts`.
    pub(super) fn search(&self, sounds: &[Sound], starts: &dyn Fn(usize) -> bool) -> Vec<Found> {
        let begins = |(at, sound): (usize, &Sound)| {
            (sound.first && starts(sound.from)).then_some(Cell { at, cost: 0.0, start: at })
        };
        if !sounds.iter().enumerate().any(|(at, sound)| begins((at, sound)).is_some()) {
            return Vec::new();
        }
        let costs = self.costs(sounds);
        let row: Vec<Cell> = sounds.iter().enumerate().filter_map(begins).collect();
        let mut found = Vec::new();
        self.descend(0, &row, &costs, &mut found);
        found
    }

    fn costs(&self, sounds: &[Sound]) -> Costs {
        let phones: Vec<_> = sounds.iter().map(|sound| sound.mora.phones()).collect();
        let mut substitution = Vec::with_capacity(self.morae.len() * sounds.len());
        for &mora in &self.morae {
            let own = mora.phones();
            let heard = sounds.iter().zip(&phones);
            substitution
                .extend(heard.map(|(sound, phones)| if sound.mora == mora { 0.0 } else { confusion(own, *phones) }));
        }
        Costs {
            substitution,
            insertion: self.morae.iter().map(|&mora| insertion(mora)).collect(),
            extra: sounds.iter().map(|sound| insertion(sound.mora)).collect(),
            sounds: sounds.len(),
        }
    }

    fn descend(&self, node: usize, row: &[Cell], costs: &Costs, found: &mut Vec<Found>) {
        let Some(node) = self.nodes.get(node) else { return };
        let mut next = Vec::with_capacity(row.len() + 4);
        for &(mora, child) in &node.children {
            let Some(below) = self.nodes.get(child as usize) else { continue };
            costs.step(usize::from(mora), row, self.limit(below.longest), &mut next);
            if next.is_empty() {
                continue;
            }
            if !below.targets.is_empty() {
                let limit = self.limit(below.depth);
                let near = next.iter().filter(|cell| cell.cost <= limit && cell.start < cell.at);
                for cell in near {
                    let at = |&target: &u32| Found {
                        target: target as usize,
                        from: cell.start,
                        to: cell.at,
                        distance: cell.cost,
                    };
                    found.extend(below.targets.iter().map(at));
                }
            }
            self.descend(child as usize, &next, costs, found);
        }
    }
}

impl Costs {
    /// The row after one more mora, without what is above `limit`.
    fn step(&self, mora: usize, row: &[Cell], limit: f32, next: &mut Vec<Cell>) {
        next.clear();
        let missing = self.insertion.get(mora).copied().unwrap_or(1.0);
        let here = self.substitution.get(mora * self.sounds..(mora + 1) * self.sounds).unwrap_or_default();
        // cells are in order of place; each gives one at its own place (not heard) and one at the next (heard as something)
        for cell in row {
            offer(next, Cell { cost: cell.cost + missing, ..*cell }, limit, &self.extra);
            if let Some(cost) = here.get(cell.at) {
                offer(next, Cell { at: cell.at + 1, cost: cell.cost + cost, start: cell.start }, limit, &self.extra);
            }
        }
    }
}

/// Puts a cell in its place when it is the cheapest there, and what follows from it by extra sounds.
fn offer(row: &mut Vec<Cell>, mut cell: Cell, limit: f32, extra: &[f32]) {
    while cell.cost <= limit {
        // at most a few from the end, because cells come almost in order
        let place = row.iter().rposition(|known| known.at <= cell.at);
        match place.and_then(|place| row.get_mut(place).filter(|known| known.at == cell.at)) {
            Some(known) if known.cost <= cell.cost => return,
            Some(known) => *known = cell,
            None => row.insert(place.map_or(0, |place| place + 1), cell),
        }
        let Some(more) = extra.get(cell.at) else { return };
        cell = Cell { at: cell.at + 1, cost: cell.cost + more, start: cell.start };
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::{morae, readings, substitution};
    use super::*;

    /// The plain dynamic programme over the whole table, one reading at a time.
    fn plainly(reading: &[Mora], sounds: &[Sound], limit: f32) -> Vec<(usize, f32)> {
        let mut row: Vec<f32> = sounds.iter().map(|sound| if sound.first { 0.0 } else { f32::INFINITY }).collect();
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
        row.into_iter().enumerate().filter(|(_, cost)| *cost <= limit).collect()
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
        let share = 0.3;
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
                    let limit = index.limit(morae.len() as u16);
                    let mut ours: Vec<(usize, f32)> = found
                        .iter()
                        .filter(|found| found.target == target)
                        .map(|found| (found.to, found.distance))
                        .collect();
                    ours.sort_by_key(|found| found.0);
                    let theirs: Vec<(usize, f32)> = plainly(&morae, &reading.sounds, limit)
                        .into_iter()
                        .filter(|(to, cost)| *to > 0 && *cost < morae.len() as f32 - 0.01)
                        .collect();
                    assert_eq!(ours.len(), theirs.len(), "{word} in {text}: {ours:?} {theirs:?}");
                    for (a, b) in ours.iter().zip(&theirs) {
                        assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-4, "{word} in {text}: {a:?} {b:?}");
                    }
                }
            }
        }
    }
}
