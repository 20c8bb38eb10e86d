//! The laboratory's program (`tests/lab/lab.py`) as a child of a test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// What `make lab` installs and writes.
#[allow(dead_code, reason = "not every test of the laboratory looks into it")]
pub(crate) fn laboratory() -> PathBuf {
    std::env::var_os("LAB_DIR").map_or_else(|| repository().join(".lab"), PathBuf::from)
}

/// A file of `tests/lab/certificates.sh`.
#[allow(dead_code, reason = "not every test of the laboratory needs TLS")]
pub(crate) fn certificate(name: &str) -> PathBuf {
    laboratory().join("certificates").join(name)
}

/// The laboratory's program at work. It and its telephones end with the test, so that a failed one leaves the ports to the next.
pub(crate) struct Lab(Child);

/// Runs the laboratory's program; `command` as in `tests/lab/lab.py --help`.
pub(crate) fn lab(command: &[&str]) -> Lab {
    let program = repository().join("tests/lab/lab.py");
    Lab(Command::new(program).args(command).stdin(Stdio::null()).spawn().expect("tests/lab/lab.py runs"))
}

/// Runs one of `tests/lab/scenarios.py`; people talk `talk_s` seconds between two steps.
#[allow(dead_code, reason = "not every test of the laboratory passes calls on")]
pub(crate) fn scenario(name: &str, talk_s: f32) -> Lab {
    let program = repository().join("tests/lab/scenarios.py");
    let talk_s = talk_s.to_string();
    Lab(Command::new(program).args([name, "--talk-s", &talk_s]).stdin(Stdio::null()).spawn().expect("it runs"))
}

/// Waits until the call went as it was to go.
pub(crate) fn finished(mut lab: Lab) {
    assert!(lab.0.wait().unwrap().success(), "the call did not go as it should: see above");
}

impl Lab {
    /// Waits for the end of the call.
    #[allow(dead_code)] // not every test expects a failure
    pub(crate) fn went_well(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
            let _ = self.0.wait();
            // the exchange does not know that its telephones are gone
            let _ = Command::new(repository().join("tests/lab/lab.py")).arg("hangup").status();
        }
    }
}
