//! One run: children, one after the other, on one store and one receiver, and the ledger of all of them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver as Lines};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::child::{ENDPOINTS, PATIENCE, ROLE, Work};
use crate::disk::Disk;
use crate::ledger::{self, Entry, Sums};
use crate::mutate::Dice;
use crate::power::{Control, Orders, library};
use crate::receiver::{Receiver, Temper};

/// A store, who receives from it, and what was accepted.
pub(crate) struct Run {
    /// `store` is the data folder.
    folder: TempDir,
    pub(crate) receiver: Receiver,
    pub(crate) work: Work,
    pub(crate) accepted: Vec<Entry>,
    disk: Disk,
}

/// A child at work; killed when it is dropped.
pub(crate) struct Living<'a> {
    run: &'a mut Run,
    process: Child,
    lines: Lines<String>,
    pub(crate) control: Control,
    pub(crate) submitted: usize,
    /// Realtime events handed in.
    pub(crate) pops: usize,
    refused: Option<String>,
    drained: bool,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct End {
    /// The kind of call at which it was killed.
    pub(crate) killed: Option<&'static str>,
    /// Calls that it counted.
    pub(crate) calls: u64,
    /// Why it could not open the store.
    pub(crate) refused: Option<String>,
    /// Writes and syncs that were refused to it.
    pub(crate) faults: u64,
}

impl Run {
    pub(crate) fn new(work: Work, temper: Temper) -> Run {
        let run = Run::without_receiver(work);
        run.receiver.behave(temper);
        run.receiver.come();
        run
    }

    /// One whose receiver is not there yet.
    pub(crate) fn without_receiver(work: Work) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().canonicalize().unwrap().join("store");
        std::fs::create_dir(&store).unwrap();
        let receiver = Receiver::away();
        let work = Work { folder: store, port: receiver.port, life: 0, ..work };
        Run { folder, receiver, work, accepted: Vec::new(), disk: Disk::default() }
    }

    pub(crate) fn store(&self) -> &Path {
        &self.work.folder
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts the next child; with `logged`, what it does to the files can be cut off by [`Run::cut_power`].
    pub(crate) fn start(&mut self, orders: Orders, logged: bool) -> Living<'_> {
        self.start_by(&[], orders, logged)
    }

    /// As [`Run::start`], by another program, which is given the child's program and arguments after its own.
    pub(crate) fn start_by(&mut self, by: &[&str], orders: Orders, logged: bool) -> Living<'_> {
        self.work.life += 1;
        let control = self.folder.path().join("control");
        let numbers = Control::new(&control, orders);
        let this = std::env::current_exe().unwrap();
        let this = [this.to_str().unwrap(), "--exact", "child", "--ignored", "--nocapture", "--test-threads=1"];
        let mut words = by.iter().copied().chain(this);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.env(ROLE, serde_json::to_string(&self.work).unwrap());
        command.env("LD_PRELOAD", library()).env("FAULTS_CONTROL", control).env("FAULTS_FOLDER", self.store());
        if logged {
            std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
            command.env("FAULTS_LOG", self.log());
        }
        let (process, lines) = spawn(command);
        Living { run: self, process, lines, control: numbers, submitted: 0, pops: 0, refused: None, drained: false }
    }

    /// A child from its start to its end.
    ///
    /// # Errors
    /// As [`Living::end`].
    pub(crate) fn child(&mut self, orders: Orders, logged: bool) -> Result<End, String> {
        self.start(orders, logged).end()
    }

    /// The last child: it delivers what is left.
    ///
    /// # Errors
    /// When it cannot, and what the ledger says.
    pub(crate) fn finish(&mut self, logged: bool) -> Result<Sums, String> {
        match self.child(Orders::default(), logged)?.refused {
            Some(problem) => Err(problem),
            None => self.check(),
        }
    }

    /// Plays what the children have done since the last cut.
    fn play(&mut self) {
        let log = std::fs::read(self.log()).unwrap();
        self.disk.play(&log);
        std::fs::File::create(self.log()).unwrap();
    }

    /// Whether the log was taken over into the database while more was to come.
    pub(crate) fn has_checkpoint(&mut self) -> bool {
        self.play();
        self.disk.synced().windows(3).any(|names| names == ["outbox.db-wal", "outbox.db", "outbox.db-wal"])
    }

    /// What was changed in the files past the library.
    pub(crate) fn unseen(&mut self) -> Option<String> {
        self.play();
        self.disk.differs(&self.work.folder)
    }

    /// The power was cut when the last child was killed.
    pub(crate) fn cut_power(&mut self, dice: &mut Dice) {
        self.play();
        self.disk.cut(dice, &self.work.folder);
        self.disk = Disk::of(&self.work.folder);
    }

    /// The ledger of the run, and whether the store is sound.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<Sums, String> {
        sound(&self.store().join("outbox.db"), &self.accepted)?;
        self.arrived()
    }

    /// The ledger of the run.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn arrived(&self) -> Result<Sums, String> {
        if let Some(wrong) = self.receiver.wrong().first() {
            return Err(format!("a request was wrong: {wrong}"));
        }
        ledger::check(&self.accepted, &self.receiver.arrivals(), &ENDPOINTS)
    }
}

/// SQLite finds no damage, the store has what was accepted, each contact without a hole and with its chain of digests, and nothing waits or is dead.
fn sound(path: &Path, accepted: &[Entry]) -> Result<(), String> {
    let wrong = |error: rusqlite::Error| format!("the store cannot be read: {error}");
    let store = rusqlite::Connection::open(path).map_err(wrong)?;
    let damage: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(wrong)?;
    if damage != "ok" {
        return Err(format!("the store is damaged: {damage}"));
    }
    let undelivered = "SELECT count(*) FROM delivery WHERE status <> 'delivered'";
    let undelivered: i64 = store.query_row(undelivered, [], |row| row.get(0)).map_err(wrong)?;
    if undelivered > 0 {
        return Err(format!("{undelivered} deliveries are not done"));
    }
    let known = chained(&store)?;
    match accepted.iter().find(|event| known.get(&event.id.to_string()) != Some(&event.digest)) {
        Some(lost) => Err(format!("the store has no event {} of {}", lost.sequence, lost.contact)),
        None => Ok(()),
    }
}

/// The ids and digests of all events, when each contact's are numbered without a hole and their digests and chain fit.
fn chained(store: &rusqlite::Connection) -> Result<HashMap<String, String>, String> {
    let wrong = |error: rusqlite::Error| format!("the store cannot be read: {error}");
    let sql = "SELECT e.id, c.id, e.sequence, e.body, e.digest, e.chain FROM event e JOIN contact c ON c.row = e.contact ORDER BY e.row";
    let mut query = store.prepare(sql).map_err(wrong)?;
    let mut rows = query.query([]).map_err(wrong)?;
    let (mut known, mut links): (_, HashMap<String, (i64, Vec<u8>)>) = (HashMap::new(), HashMap::new());
    while let Some(row) = rows.next().map_err(wrong)? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
        let (id, contact, sequence, body, digest, chain): (String, String, i64, String, Vec<u8>, Vec<u8>) =
            read().map_err(wrong)?;
        let (last, before) = links.remove(&contact).unwrap_or_default();
        let link = Sha256::new().chain_update(&before).chain_update(&digest).finalize().to_vec();
        if sequence != last + 1 || Sha256::digest(&body).to_vec() != digest || link != chain {
            return Err(format!("in the store {sequence} of {contact} does not follow {last}"));
        }
        links.insert(contact, (sequence, chain));
        known.insert(id, ledger::digest(body.as_bytes()));
    }
    Ok(known)
}

/// Starts a child of this binary and reads what it says.
fn spawn(mut command: Command) -> (Child, Lines<String>) {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(process.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            // the test harness has said something in front of the first
            if let Some((_, line)) = line.split_once('@') {
                let _ = sender.send(line.to_string());
            }
        }
    });
    (process, lines)
}

impl Living<'_> {
    /// Goes on until what was accepted and submitted so far fits; `false` when the child has ended before.
    ///
    /// # Errors
    /// When it stands still.
    pub(crate) fn until(&mut self, fits: impl Fn(&Living<'_>) -> bool) -> Result<bool, String> {
        let mut since = Instant::now();
        while !fits(self) {
            match self.lines.recv_timeout(Duration::from_millis(10)) {
                Ok(line) => {
                    self.hear(&line);
                    since = Instant::now();
                }
                Err(mpsc::RecvTimeoutError::Timeout) if since.elapsed() < PATIENCE => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("the child stands still, {} accepted", self.run.accepted.len()));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Hears what it has said so far; `false` when it has ended.
    pub(crate) fn listen(&mut self) -> bool {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.hear(&line),
                Err(problem) => return problem == mpsc::TryRecvError::Empty,
            }
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.run.accepted.len()
    }

    pub(crate) fn receiver(&self) -> &Receiver {
        &self.run.receiver
    }

    pub(crate) fn work(&self) -> &Work {
        &self.run.work
    }

    /// Why it could not open the store.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open"] => {}
            ["pop"] => self.pops += 1,
            ["drained"] => self.drained = true,
            ["submitted", count] => self.submitted += count.parse::<usize>().unwrap(),
            ["accepted", id, contact, sequence, digest] => self.run.accepted.push(Entry {
                id: id.parse().unwrap(),
                contact: kakehashi::call::ContactId(contact.parse().unwrap()),
                sequence: sequence.parse().unwrap(),
                digest: digest.into(),
            }),
            ["refused", ..] => self.refused = Some(line.to_string()),
            _ => panic!("the child said {line}"),
        }
    }

    /// Kills it from outside.
    ///
    /// # Errors
    /// As [`Living::until`].
    pub(crate) fn kill(mut self) -> Result<(), String> {
        self.process.kill().unwrap();
        self.until(|_| false).map(|_| ())
    }

    /// Waits for the end: by an order to die, drained, or refused by the store.
    ///
    /// # Errors
    /// When the child failed.
    pub(crate) fn end(mut self) -> Result<End, String> {
        self.until(|_| false)?;
        let status = self.process.wait().unwrap();
        let killed = self.control.killed_by();
        let fits = match (killed, &self.refused) {
            (Some(_), _) => status.signal() == Some(9),
            (None, Some(_)) => status.success(),
            (None, None) => status.success() && self.drained,
        };
        if !fits {
            return Err(format!("the child ended with {status}, killed at {killed:?}"));
        }
        Ok(End { killed, calls: self.control.calls(), refused: self.refused.take(), faults: self.control.refused() })
    }
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _: std::io::Result<ExitStatus> = self.process.wait();
    }
}
