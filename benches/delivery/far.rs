//! The receiver as a process of its own, on a core of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::net::TcpListener;

use crate::receiver::{Manner, Seen, serve, tls};

/// Set for the receiver's process: the folder with its certificate.
const FOLDER: &str = "KAKEHASHI_BENCH_RECEIVER";

/// Keeps this process and what it starts from now on to one core: the first or second of those that it may use; `None` when there is no second.
pub(crate) fn pin(which: usize) -> Option<usize> {
    let own = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|core| own.is_set(*core).unwrap_or(false)).collect();
    let core = *cores.get(which).filter(|_| cores.len() > 1)?;
    let mut set = CpuSet::new();
    set.set(core).ok()?;
    sched_setaffinity(Pid::from_raw(0), &set).ok().map(|()| core)
}

/// A running receiver; it ends with the bench.
pub(crate) struct Receiver {
    process: Child,
    asks: ChildStdin,
    tells: BufReader<ChildStdout>,
    pub(crate) http: u16,
    pub(crate) https: u16,
}

impl Receiver {
    /// `folder`: with `own.pem` and `own.key`.
    pub(crate) fn start(folder: &Path) -> Receiver {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, tells) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut receiver = Receiver { process, asks, tells: BufReader::new(tells), http: 0, https: 0 };
        let [http, https] = [receiver.line(), receiver.line()];
        (receiver.http, receiver.https) = (http as u16, https as u16);
        receiver
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Requests so far.
    pub(crate) fn count(&mut self) -> u64 {
        self.asks.write_all(b"\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> u64 {
        let mut line = String::new();
        self.tells.read_line(&mut line).unwrap();
        line.trim().parse().expect("the receiver runs")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The receiver's process, where this is it: tells its two ports, and its count when it is asked; ends with the bench.
pub(crate) fn run() -> bool {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return false };
    pin(1);
    let seen = Arc::<Seen>::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let secure = Manner { tls: Some(tls(&folder.join("own.pem"), &folder.join("own.key"))), ..Manner::default() };
    for manner in [Manner::default(), secure] {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        runtime.spawn(serve(listener, manner, Arc::clone(&seen)));
    }
    for _ in std::io::stdin().lines() {
        println!("{}", seen.requests.load(Ordering::SeqCst));
    }
    true
}
