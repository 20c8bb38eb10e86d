//! What a process and the machine use.

use std::fs;

/// CPU seconds of a process so far, with those of its threads that ended (ticks of 10 ms).
pub(crate) fn process_cpu(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// CPU seconds of the whole machine so far, without idle and iowait.
pub(crate) fn machine_cpu() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks = words.enumerate().filter(|(n, _)| *n != 3 && *n != 4).filter_map(|(_, word)| word.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What a process and the machine used since a moment.
pub(crate) struct Meter {
    pid: u32,
    began: std::time::Instant,
    process: f64,
    machine: f64,
}

impl Meter {
    pub(crate) fn of(pid: u32) -> Meter {
        Meter { pid, began: std::time::Instant::now(), process: process_cpu(pid), machine: machine_cpu() }
    }

    /// Prints both as cores.
    pub(crate) fn report(&self, name: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{name}_process_cpu {:.3} cores", (process_cpu(self.pid) - self.process) / seconds);
        println!(
            "{name}_machine_cpu {:.3} cores, generator and everything else included",
            (machine_cpu() - self.machine) / seconds
        );
    }
}
