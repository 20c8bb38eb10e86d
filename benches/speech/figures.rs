//! From what was said and what was heard to figures: delays with intervals, what is lost, error rates.

use std::time::Instant;

use kakehashi::cli::score::normalise;

use crate::scene::{Dice, Said, Scene};

/// A text may begin or end so much before or after the speech that it is of, in samples (pre-roll, tail).
const AROUND: usize = 4_800;
/// Resampled sets of an interval.
const RESAMPLES: u64 = 1_000;

/// A text of one line of one call.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) call: usize,
    pub(crate) line: usize,
    /// Its place in the stream, in samples.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) text: String,
    /// When it was there.
    pub(crate) at: Instant,
}

/// What became of some scenes.
#[derive(Debug)]
pub(crate) struct Run {
    /// When each packet was sent.
    pub(crate) sent: Vec<Instant>,
    pub(crate) finals: Vec<Heard>,
    pub(crate) partials: Vec<Heard>,
    /// Processor time of the side that recognises while people spoke, in cores.
    pub(crate) cores: f64,
}

/// Figures of a run; delays in seconds, one for each utterance.
#[derive(Debug)]
pub(crate) struct Figures {
    /// From the end of speech to its last text, hangover included.
    pub(crate) delays: Vec<f64>,
    /// From the beginning of speech to its first partial.
    pub(crate) partials: Vec<f64>,
    /// Utterances without any text.
    pub(crate) lost: usize,
    /// Characters said, and errors in what was heard.
    pub(crate) errors: (usize, usize),
    pub(crate) cores: f64,
}

impl Figures {
    pub(crate) fn of(scenes: &[Scene], run: Run) -> Figures {
        let mut figures =
            Figures { delays: Vec::new(), partials: Vec::new(), lost: 0, errors: (0, 0), cores: run.cores };
        // the packet with this sample was sent then
        let when = |sample: usize| run.sent[(sample / crate::talk::FRAME).min(run.sent.len() - 1)];
        for (call, scene) in scenes.iter().enumerate() {
            for said in &scene.said {
                let of = |heard: &&Heard| overlaps(heard, call, said);
                match run.finals.iter().filter(of).map(|heard| heard.at).max() {
                    Some(at) => figures.delays.push(at.saturating_duration_since(when(said.to)).as_secs_f64()),
                    None => figures.lost += 1,
                }
                let first = run.partials.iter().filter(of).map(|heard| heard.at).min();
                figures.partials.extend(first.map(|at| at.saturating_duration_since(when(said.from)).as_secs_f64()));
            }
            for line in 0..scene.lines.len() {
                let said = scene.said.iter().filter(|said| said.line == line).map(|said| said.text.as_str());
                let mut own: Vec<&Heard> =
                    run.finals.iter().filter(|heard| (heard.call, heard.line) == (call, line)).collect();
                own.sort_by_key(|heard| heard.from);
                let heard: String = own.iter().map(|heard| heard.text.as_str()).collect();
                let said = normalise(&said.collect::<String>());
                figures.errors.0 += said.len();
                figures.errors.1 += edits(&said, &normalise(&heard));
            }
        }
        figures
    }

    /// Prints what is there; a target counts as met only when its whole interval lies within it.
    pub(crate) fn print(&self, name: &str, target: Option<(f64, f64)>) {
        let shares =
            [("p50", 0.50, target.map(|both| both.0)), ("p95", 0.95, target.map(|both| both.1)), ("p99", 0.99, None)];
        for (of, share, limit) in shares {
            let value = Interval::of(&self.delays, share);
            println!("{name}_final_{of} {value} s{}", limit.map_or(String::new(), |limit| value.verdict(limit)));
        }
        println!("{name}_final_n {}", self.delays.len());
        println!("{name}_finals_lost {} of {}", self.lost, self.lost + self.delays.len());
        println!("{name}_character_errors {:.2} %", 100.0 * self.errors.1 as f64 / self.errors.0.max(1) as f64);
        println!("{name}_cpu {:.3} cores", self.cores);
    }

    /// Prints the first partials.
    pub(crate) fn print_partials(&self, name: &str, (p50, p95): (f64, f64)) {
        println!("{name}_first_partial_n {}", self.partials.len());
        for (of, share, limit) in [("p50", 0.50, p50), ("p95", 0.95, p95)] {
            if !self.partials.is_empty() {
                let value = Interval::of(&self.partials, share);
                println!("{name}_first_partial_{of} {value} s{}", value.verdict(limit));
            }
        }
    }
}

fn overlaps(heard: &Heard, call: usize, said: &Said) -> bool {
    let here = (heard.call, heard.line) == (call, said.line);
    here && !heard.text.is_empty() && heard.from < said.to + AROUND && heard.to + AROUND > said.from
}

/// Least edits (Levenshtein) between two texts.
fn edits(said: &[char], heard: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=said.len()).collect();
    for (at, character) in heard.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, wanted) in said.iter().enumerate() {
            let change = diagonal + usize::from(wanted != character);
            diagonal = row[place + 1];
            row[place + 1] = change.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[said.len()]
}

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Enough values lie beyond the quantile for the interval to mean something.
    enough: bool,
}

/// Values that must lie beyond a quantile.
const BEYOND: f64 = 3.0;

impl std::fmt::Display for Interval {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.3} [{:.3}, {:.3}]", self.value, self.low, self.high)?;
        if self.enough { Ok(()) } else { write!(out, " (too few)") }
    }
}

impl Interval {
    /// A quantile, and its bootstrap interval over utterances.
    pub(crate) fn of(values: &[f64], share: f64) -> Interval {
        let enough = values.len() as f64 * (1.0 - share) >= BEYOND;
        Interval::around(quantile(values.to_vec(), share), enough, |dice| quantile(resampled(values, dice), share))
    }

    fn around(value: f64, enough: bool, mut again: impl FnMut(&mut Dice) -> f64) -> Interval {
        let all: Vec<f64> = (0..RESAMPLES).map(|seed| again(&mut Dice::new(seed))).collect();
        Interval { value, low: quantile(all.clone(), 0.025), high: quantile(all, 0.975), enough }
    }

    /// Whether the whole interval is below a limit.
    fn verdict(&self, limit: f64) -> String {
        let said = match (self.enough, self.high <= limit) {
            (false, _) => "nothing said",
            (true, true) => "met",
            (true, false) => "not shown",
        };
        format!(" (target ≤ {limit}: {said})")
    }
}

/// The same quantile of both, ours ÷ theirs; the sides are resampled apart.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64], share: f64) -> Interval {
    let of = |ours: Vec<f64>, theirs: Vec<f64>| quantile(ours, share) / quantile(theirs, share);
    let enough = ours.len().min(theirs.len()) as f64 * (1.0 - share) >= BEYOND;
    Interval::around(of(ours.to_vec(), theirs.to_vec()), enough, |dice| {
        of(resampled(ours, dice), resampled(theirs, dice))
    })
}

fn resampled(values: &[f64], dice: &mut Dice) -> Vec<f64> {
    values.iter().map(|_| values[dice.below(values.len())]).collect()
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().max(1) - 1) as f64 * share;
    values.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}
