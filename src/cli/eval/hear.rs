//! Recognises a set on several cores, each utterance without a dictionary and with each of them; hypotheses may be kept in a file.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::EvalError;
use super::set::{Line, Listed, sound};
use crate::speech::{Bias, Hypothesis, Recognizer};

/// What the recogniser gets to help it, by what was heard without help; `None` where that is not heard again.
pub(super) type Help = Box<dyn Fn(&Hypothesis) -> Option<Arc<dyn Bias>> + Send + Sync>;

/// One way to decode: without a dictionary (the first one), or a second time with the help of one.
pub(super) struct Way {
    /// Tells hypotheses in the kept file apart; equal names give equal hypotheses.
    pub(super) name: String,
    pub(super) help: Option<Help>,
}

/// What was recognised of one utterance.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// In order of the ways; `None` where it is not heard in that way.
    hypotheses: Vec<Option<Hypothesis>>,
    pub(super) seconds: f64,
}

impl Heard {
    pub(super) fn hypothesis(&self, way: usize) -> Option<&Hypothesis> {
        self.hypotheses.get(way)?.as_ref()
    }
}

/// Hypotheses by file and way, in memory and in a file that grows.
#[derive(Default)]
pub(super) struct Kept {
    known: HashMap<(String, String), (f64, Hypothesis)>,
    file: Option<std::fs::File>,
}

#[derive(Serialize, Deserialize)]
struct KeptLine {
    file: String,
    way: String,
    seconds: f64,
    hypothesis: Hypothesis,
}

impl Kept {
    /// Reads what is there and appends to it; nothing is kept without a path.
    pub(super) fn open(path: Option<&PathBuf>) -> Result<Self, EvalError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let unreadable = |source| EvalError::Unreadable { path: path.clone(), source };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(unreadable)?;
        let mut known = HashMap::new();
        for (index, line) in BufReader::new(&file).lines().enumerate() {
            let line = line.map_err(unreadable)?;
            let KeptLine { file, way, seconds, hypothesis } = serde_json::from_str(&line)
                .map_err(|problem| EvalError::Kept { path: path.clone(), line: index + 1, problem })?;
            known.insert((file, way), (seconds, hypothesis));
        }
        Ok(Self { known, file: Some(file) })
    }

    fn find(&self, file: &str, way: &str) -> Option<(f64, Hypothesis)> {
        self.known.get(&(file.to_owned(), way.to_owned())).cloned()
    }

    fn keep(&mut self, file: &str, way: &str, seconds: f64, hypothesis: &Hypothesis) -> std::io::Result<()> {
        let Some(out) = &mut self.file else { return Ok(()) };
        let (file, way, hypothesis) = (file.to_owned(), way.to_owned(), hypothesis.clone());
        let mut line = serde_json::to_vec(&KeptLine { file, way, seconds, hypothesis })?;
        line.push(b'\n');
        out.write_all(&line)
    }
}

/// Recognises all of `listed` in every way; a thread for each recogniser. The result does not depend on how many there are.
pub(super) fn hear(
    dir: &Path,
    listed: &[Listed],
    ways: &[Way],
    line: &Line,
    kept: Kept,
    recognizers: Vec<Box<dyn Recognizer>>,
) -> Result<Vec<Heard>, EvalError> {
    let (next, kept, progress) = (AtomicUsize::new(0), Mutex::new(kept), Mutex::new(Progress::of(listed.len())));
    let work = |mut recognizer: Box<dyn Recognizer>| -> Result<Vec<(usize, Heard)>, EvalError> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(utterance) = listed.get(index) else { return Ok(done) };
            match one(dir, utterance, ways, line, &kept, recognizer.as_mut()) {
                Ok(heard) => done.push((index, heard)),
                Err(error) => {
                    next.store(listed.len(), Ordering::Relaxed); // the others need not go on
                    return Err(error);
                }
            }
            progress.lock().unwrap_or_else(PoisonError::into_inner).step();
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = recognizers.into_iter().map(|recognizer| scope.spawn(move || work(recognizer))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(EvalError::Broken))).collect()
    });
    let mut heard = results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>();
    heard.sort_by_key(|(index, _)| *index);
    Ok(heard.into_iter().map(|(_, heard)| heard).collect())
}

fn one(
    dir: &Path,
    utterance: &Listed,
    ways: &[Way],
    line: &Line,
    kept: &Mutex<Kept>,
    recognizer: &mut dyn Recognizer,
) -> Result<Heard, EvalError> {
    let path = dir.join(&utterance.file);
    let key = utterance.file.display().to_string();
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pcm = None;
    let mut heard = Heard { hypotheses: Vec::with_capacity(ways.len()), seconds: 0.0 };
    for way in ways {
        let help = match &way.help {
            Some(help) => match heard.hypothesis(0).and_then(help) {
                Some(help) => Some(help),
                None => {
                    heard.hypotheses.push(None);
                    continue;
                }
            },
            None => None,
        };
        let known = lock().find(&key, &way.name);
        if let Some((seconds, hypothesis)) = known {
            heard.seconds = seconds;
            heard.hypotheses.push(Some(hypothesis));
            continue;
        }
        let pcm = match &mut pcm {
            Some(pcm) => pcm,
            none => none.insert(sound(&path, line)?),
        };
        heard.seconds = pcm.len() as f64 / 16_000.0;
        let hypothesis = recognizer
            .recognize(pcm, help.as_deref())
            .map_err(|failure| EvalError::Recognition { path: path.clone(), failure })?;
        lock()
            .keep(&key, &way.name, heard.seconds, &hypothesis)
            .map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
        heard.hypotheses.push(Some(hypothesis));
    }
    Ok(heard)
}

/// Progress on a terminal; silent elsewhere.
struct Progress {
    all: usize,
    done: usize,
    shown: bool,
}

impl Progress {
    fn of(all: usize) -> Self {
        Self { all, done: 0, shown: std::io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.shown {
            let end = if self.done == self.all { '\n' } else { '\r' };
            eprint!("{} of {} utterances{end}", self.done, self.all);
        }
    }
}
