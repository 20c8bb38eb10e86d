//! baresip, a telephone that shares no code with SIPp, Asterisk or the bridge: it calls the bridge and plays a file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::certificate;

/// How it calls.
#[derive(Clone)]
pub(crate) struct Way {
    /// `udp`, `tcp` or `tls`.
    pub(crate) carrier: &'static str,
    /// As baresip names it, for example `opus/48000/2`.
    pub(crate) codec: &'static str,
    /// `srtp-mand` (keys by SDES), `dtls_srtp`, or nothing.
    pub(crate) keys: &'static str,
    /// User and password of its digest; nothing: it has none.
    pub(crate) proof: Option<(&'static str, &'static str)>,
}

/// baresip with a configuration of its own; it ends with the test.
pub(crate) struct Baresip {
    process: Child,
    folder: tempfile::TempDir,
}

impl Baresip {
    /// Calls `number` at the bridge on `port` of loopback, and plays `wav` (8 kHz, mono) until it is ended. `own_port` is for SIP, the 19 after
    /// it for sound.
    pub(crate) fn calls(way: &Way, number: &str, port: u16, wav: &Path, own_port: u16) -> Baresip {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), config(folder.path(), wav, own_port)).unwrap();
        let mut account = format!("<sip:0663621234@127.0.0.1:{port};transport={}>;regint=0", way.carrier);
        account += &format!(";audio_codecs={}", way.codec);
        if !way.keys.is_empty() {
            account += &format!(";mediaenc={}", way.keys);
        }
        if let Some((user, password)) = way.proof {
            account += &format!(";auth_user={user};auth_pass={password}");
        }
        std::fs::write(folder.path().join("accounts"), account + "\n").unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("baresip")
            .arg("-f")
            .arg(folder.path())
            .args(["-v", "-e", &format!("/dial sip:{number}@127.0.0.1:{port};transport={}", way.carrier), "-t", "120"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("baresip is installed (tests/lab/setup.sh)");
        Baresip { process, folder }
    }

    /// What it says.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It hangs up and ends, when the bridge has answered its BYE.
    pub(crate) fn hangs_up(&mut self) {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "baresip does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(folder: &Path, wav: &Path, own_port: u16) -> String {
    let modules = ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules"];
    let modules = modules.into_iter().find(|path| PathBuf::from(path).exists()).expect("baresip's modules");
    let mut text = format!("module_path {modules}\n");
    for module in ["g711", "g722", "opus", "aufile", "srtp", "dtls_srtp"] {
        text += &format!("module {module}.so\n");
    }
    text + &format!(
        "module_tmp account.so\nmodule_app menu.so\nausrc_srate 8000\nausrc_channels 1\nauplay_srate 8000\nauplay_channels 1\n\
         audio_source aufile,{}\naudio_player aufile,{}\naudio_alert aufile,{}\nsip_listen 127.0.0.1:{own_port}\n\
         sip_certificate {}\nsip_cafile {}\nsip_verify_server yes\nrtp_ports {}-{}\nnet_interface 127.0.0.1\n",
        wav.display(),
        folder.join("heard.wav").display(),
        folder.join("alert.wav").display(),
        certificate("baresip.both.pem").display(),
        certificate("authority.pem").display(),
        own_port + 1,
        own_port + 19,
    )
}
