//! The figures of a set: by layer and size of the dictionary, each with its number and its interval, as a table or as JSON.

use std::io::{Result, Write};

use serde::Serialize;

use super::set::Kind;
use crate::cli::interval::{Share, Statistic, bootstrap, rate};
use crate::cli::score::{Case, Score, Words, score};

/// The texts of one utterance.
pub(super) struct Texts {
    pub(super) said: String,
    pub(super) terms: Vec<String>,
    pub(super) kind: Kind,
    pub(super) seconds: f64,
    /// By layer; the first is without a dictionary.
    pub(super) layers: Vec<String>,
    /// Nothing was replaced.
    pub(super) untouched: bool,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) utterances: usize,
    pub(super) seconds: f64,
    /// Utterances and seconds by what is said in them.
    pub(super) kinds: Vec<(&'static str, usize, f64)>,
    pub(super) line: String,
    pub(super) characters: u64,
    pub(super) keywords_said: u64,
    pub(super) keywords_distinct: usize,
    pub(super) terms_said: u64,
    pub(super) model: String,
    pub(super) engine: String,
    pub(super) decode_ms_without: u64,
    /// Without a dictionary.
    pub(super) layers: Vec<Layer>,
    pub(super) sizes: Vec<Size>,
}

/// A dictionary with so many distractors.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    pub(super) distractors: usize,
    pub(super) entries: usize,
    pub(super) dictionary: String,
    /// Utterances that were decoded a second time, with the bias, and what that took.
    pub(super) heard_twice: usize,
    pub(super) decode_ms_with: u64,
    pub(super) correct_us: Spent,
    /// Utterances in which nothing was replaced.
    pub(super) untouched: usize,
    /// … whose text is the text without a dictionary; must be all of them.
    pub(super) untouched_identical: usize,
    pub(super) layers: Vec<Layer>,
}

/// Time of one correction in µs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Spent {
    pub(super) median: u64,
    pub(super) p95: u64,
    pub(super) p99: u64,
    pub(super) worst: u64,
}

impl Spent {
    pub(super) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times.get((times.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or(0);
        Self { median: at(0.5), p95: at(0.95), p99: at(0.99), worst: at(1.0) }
    }
}

/// The figures of one layer.
#[derive(Debug, Serialize)]
pub(super) struct Layer {
    name: &'static str,
    cer: Option<Share>,
    cer_inside: Option<Share>,
    cer_outside: Option<Share>,
    /// Change outside the words against no dictionary, in points.
    outside_change: Option<Share>,
    recall: Option<Share>,
    precision: Option<Share>,
    f1: Option<Share>,
    terms_recall: Option<Share>,
    /// Share of the keyword misses without dictionary that are gone.
    misses_removed: Option<Share>,
    /// Characters that were right without a dictionary and are wrong with it, of those that were right.
    over_correction: Option<Share>,
    /// Utterances with another text than without a dictionary.
    changed: Option<Share>,
    /// Utterances with a sound-alike in which a word was added.
    alike_taken: Option<Share>,
    /// Words of the whole dictionary that were written and not said, the recogniser's own included.
    inserted: u64,
    /// … of these, those that the text without a dictionary does not have.
    added: u64,
    /// … of these, in speech in which no word is said, by kind.
    added_by_kind: Vec<(&'static str, u64)>,
    /// … of these, an hour of speech in which no word is said.
    added_per_hour: Option<Share>,
}

const STATISTICS: [Statistic; 11] = [
    |a, _| ratio(a.errors, a.characters),
    |a, _| ratio(a.inside_errors, a.inside),
    |a, _| ratio(a.outside_errors(), a.outside()),
    |a, off| Some(ratio(a.outside_errors(), a.outside())? - ratio(off.outside_errors(), off.outside())?),
    |a, _| ratio(a.found, a.said),
    |a, _| ratio(a.found, a.found + a.wrong),
    |a, _| ratio(2.0 * a.found, a.said + a.found + a.wrong),
    |a, _| ratio(a.terms_found, a.terms),
    |a, off| ratio((off.said - off.found) - (a.said - a.found), off.said - off.found),
    |a, _| ratio(a.spoiled, a.right),
    |a, _| ratio(a.changed, a.utterances),
];

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// The figures of all layers for one dictionary; `names` are those of `Texts::layers`.
pub(super) fn layers(
    texts: &[Texts],
    names: &[&'static str],
    keywords: &Words,
    all: &Words,
    resamples: usize,
) -> Vec<Layer> {
    let scored = |layer: usize| -> Vec<Score> {
        texts
            .iter()
            .map(|one| {
                let text = |layer: usize| one.layers.get(layer).map_or("", String::as_str);
                let case = Case { said: &one.said, heard: text(layer), off: text(0), terms: &one.terms };
                score(&case, keywords, all)
            })
            .collect()
    };
    let off = scored(0);
    let hours = texts.iter().filter(|one| one.kind.control()).map(|one| one.seconds).sum::<f64>() / 3_600.0;
    let layer = |(index, name): (usize, &&'static str)| {
        let pairs: Vec<(Score, Score)> = scored(index).into_iter().zip(off.iter().copied()).collect();
        let of_kind =
            |kind: Kind| pairs.iter().zip(texts).filter(move |(_, one)| one.kind == kind).map(|(pair, _)| *pair);
        let alike: Vec<_> = of_kind(Kind::Alike).collect();
        let added = |kind| (Kind::name(kind), of_kind(kind).map(|(score, _)| score.added).sum::<f64>() as u64);
        let added_by_kind: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.control()).map(added).collect();
        let control = added_by_kind.iter().map(|(_, added)| *added).sum::<u64>();
        let sum = pairs.iter().fold(Score::default(), |sum, (score, _)| sum.plus(score));
        let mut shares = bootstrap(&pairs, resamples, &STATISTICS).into_iter();
        let mut next = || shares.next().flatten();
        Layer {
            name,
            cer: next(),
            cer_inside: next(),
            cer_outside: next(),
            outside_change: next(),
            recall: next(),
            precision: next(),
            f1: next(),
            terms_recall: next(),
            misses_removed: next(),
            over_correction: next(),
            changed: next(),
            alike_taken: bootstrap(&alike, resamples, &[|a, _| ratio(a.hit, a.utterances)])
                .into_iter()
                .next()
                .flatten(),
            inserted: sum.inserted as u64,
            added: sum.added as u64,
            added_by_kind,
            added_per_hour: rate(control as f64, hours),
        }
    };
    names.iter().enumerate().map(layer).collect()
}

/// One figure of a layer; `None` where nothing was counted.
type ShareOf = fn(&Layer) -> Option<Share>;

const ROWS: [(&str, ShareOf); 13] = [
    ("character errors", |layer| layer.cer),
    ("  inside keywords", |layer| layer.cer_inside),
    ("  outside", |layer| layer.cer_outside),
    ("  outside, change (pt)", |layer| layer.outside_change),
    ("keyword recall", |layer| layer.recall),
    ("  of unknown names", |layer| layer.terms_recall),
    ("keyword precision", |layer| layer.precision),
    ("F1", |layer| layer.f1),
    ("keyword misses removed", |layer| layer.misses_removed),
    ("over-correction", |layer| layer.over_correction),
    ("utterances changed", |layer| layer.changed),
    ("sound-alikes taken", |layer| layer.alike_taken),
    ("words added, control (/h)", |layer| layer.added_per_hour),
];

pub(super) fn print(out: &mut dyn Write, report: &Report) -> Result<()> {
    let Report { utterances, seconds, characters, keywords_said, keywords_distinct, terms_said, .. } = report;
    writeln!(
        out,
        "{utterances} utterances, {:.1} min, {characters} characters, {keywords_said} keywords ({keywords_distinct} different, {terms_said} in `terms`)",
        seconds / 60.0
    )?;
    for (kind, utterances, seconds) in &report.kinds {
        writeln!(out, "  {kind:6} {utterances} utterances, {:.1} min", seconds / 60.0)?;
    }
    let line = if report.line.is_empty() { "as in the files" } else { &report.line };
    writeln!(
        out,
        "line: {line}; model {}; decoding without a dictionary {} ms",
        report.model, report.decode_ms_without
    )?;
    writeln!(
        out,
        "per cent with 95 % bootstrap intervals over utterances (rates: exact Poisson intervals); characters after NFKC, without punctuation and \
         spaces, numbers before counters in digits, nothing masked"
    )?;
    if report.sizes.is_empty() {
        return table(out, &report.layers);
    }
    for size in &report.sizes {
        writeln!(out, "\n{} distractors: {} entries, dictionary {}", size.distractors, size.entries, size.dictionary)?;
        table(out, &size.layers)?;
        let same = size.untouched == size.untouched_identical;
        writeln!(
            out,
            "nothing replaced: {} utterances, text identical in {}{}",
            size.untouched,
            size.untouched_identical,
            if same { "" } else { " (MUST BE ALL)" }
        )?;
        let Spent { median, p95, p99, worst } = size.correct_us;
        writeln!(
            out,
            "decoded a second time, with the bias: {} utterances, {} ms; one correction median {median} µs, p95 {p95} µs, p99 {p99} µs, worst {worst} µs",
            size.heard_twice, size.decode_ms_with
        )?;
        targets(out, size)?;
    }
    Ok(())
}

fn table(out: &mut dyn Write, layers: &[Layer]) -> Result<()> {
    write!(out, "{:26}", "")?;
    for layer in layers {
        write!(out, "{:>22}", layer.name)?;
    }
    writeln!(out)?;
    for (name, of) in ROWS {
        if layers.iter().all(|layer| of(layer).is_none()) {
            continue;
        }
        write!(out, "{name:26}")?;
        for layer in layers {
            let cell = of(layer)
                .map_or("-".into(), |share| format!("{:.2} [{:.2}, {:.2}]", share.value, share.low, share.high));
            write!(out, "{cell:>22}")?;
        }
        writeln!(out)?;
    }
    write!(out, "{:26}", "  by kind")?;
    for layer in layers {
        let cells: Vec<String> = layer.added_by_kind.iter().map(|(kind, added)| format!("{kind} {added}")).collect();
        write!(out, "{:>22}", cells.join(" "))?;
    }
    write!(out, "\n{:26}", "words not said, all/added")?;
    for layer in layers {
        write!(out, "{:>22}", format!("{}/{}", layer.inserted, layer.added))?;
    }
    writeln!(out)
}

/// Says of each target whether the bound of its interval meets it.
fn targets(out: &mut dyn Write, size: &Size) -> Result<()> {
    let (Some(all), Some(least)) = (
        size.layers.iter().find(|layer| layer.name == "all"),
        match size.distractors {
            1_000 => Some(60.0),
            10_000 => Some(50.0),
            _ => None,
        },
    ) else {
        return Ok(());
    };
    let mut say = |what: &str, share: Option<Share>, met: &dyn Fn(f64, f64) -> bool| match share {
        Some(Share { value, low, high }) => {
            let verdict = if met(low, high) {
                "met"
            } else if met(value, value) {
                "met by the value, not by the interval"
            } else {
                "not met"
            };
            writeln!(out, "target {what}: {value:.2} [{low:.2}, {high:.2}], {verdict}")
        }
        None => Ok(()),
    };
    say(&format!("keyword misses removed ≥ {least} %"), all.misses_removed, &|low, _| low >= least)?;
    say("text outside keywords ≤ +0.05 pt", all.outside_change, &|_, high| high <= 0.05)?;
    if size.distractors == 10_000 {
        say("words added ≤ 1/h", all.added_per_hour, &|_, high| high <= 1.0)?;
    }
    Ok(())
}
