//! Input that cannot be used: the program ends with an exit code other than 0, and its last line names the place, what was expected, and
//! what to do.
#![cfg(feature = "web")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/kakehashi-lab-ja.bin");

/// Runs the program, which must fail; its last line on standard error.
fn refusal(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).env("KAKEHASHI_LOG", "error");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_string();
    assert_eq!(output.status.code(), Some(1), "{arguments:?} was not refused: {said}");
    let last = said.lines().last().unwrap_or_default().to_string();
    assert!(last.starts_with("kakehashi: "), "{said}");
    last
}

fn assert_names(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
}

/// A configuration in `folder` that is good but for what `more` makes of it.
fn config(folder: &Path, more: &str) -> String {
    let text = format!("[node]\ndata_dir = \"{}/data\"\n[[site]]\nid = \"osaka\"\n{more}\n", folder.display());
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const NO_TEXT: &str = "[[line]]\nnumber = \"*\"\ntranscribe = false";

#[test]
fn a_configuration_that_is_not_there() {
    assert_names(&refusal(&["serve", "--config", "/nowhere/k.toml"]), &["/nowhere/k.toml", "config/minimal.toml"]);
}

#[test]
fn an_unknown_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &format!("{NO_TEXT}\n[media]\nfirst_prot = 20000"));
    for command in ["check", "serve"] {
        let error = refusal(&[command, "--config", &config]);
        assert_names(&error, &[&config, "line 9", "first_prot", "expected", "first_port", "config/kakehashi.toml"]);
    }
}

#[test]
fn a_dictionary_row_without_reading() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.csv");
    std::fs::write(&words, "surface,reading\n住吉区,スミヨシク\n御幣島,\n").unwrap();
    let words = words.display().to_string();
    let config = config(folder.path(), &format!("{NO_TEXT}\n[dictionary]\nfiles = [\"{words}\"]"));
    let check = refusal(&["check", "--config", &config]);
    let transcribe = refusal(&["transcribe", "samples/calls/call1.wav", "--dictionary", &words]);
    for error in [check, transcribe] {
        assert_names(&error, &[&words, "line 3", "reading", "katakana"]);
    }
}

/// A file of the name `name` in `folder` with these bytes.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[cfg(feature = "whisper")]
#[test]
fn a_truncated_and_a_foreign_model() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(MODEL).unwrap();
    let cut = file(folder.path(), "cut.bin", &whole[..whole.len() / 2]);
    let foreign = file(folder.path(), "foreign.bin", b"GGUF\x03\0\0\0 a model of another program");
    let exchange = "[[line]]\nnumber = \"*\"";
    for (model, problem) in [(&cut, "ends"), (&foreign, "begins with")] {
        let config = config(folder.path(), &format!("{exchange}\n[speech]\nmodel = \"{model}\""));
        for arguments in [
            vec!["check", "--config", &config],
            vec!["serve", "--config", &config],
            vec!["transcribe", "samples/calls/call1.wav", "--model", model],
        ] {
            assert_names(&refusal(&arguments), &[model, problem, "ggml", "again"]);
        }
    }
}

#[cfg(feature = "whisper")]
#[test]
fn sound_at_a_rate_that_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("eleven.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 11_025,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(&path, spec).unwrap();
    (0..11_025).for_each(|n| wav.write_sample((n % 100) as i16).unwrap());
    wav.finalize().unwrap();
    let path = path.display().to_string();
    assert_names(&refusal(&["transcribe", &path]), &[&path, "11", "8,000 or 16,000 Hz", "Convert it"]);
}

#[test]
fn a_port_that_another_program_has() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config_of_panel = config(folder.path(), &format!("{NO_TEXT}\n[panel]\nlisten = \"{address}\""));
    let error = refusal(&["serve", "--config", &config_of_panel]);
    assert_names(&error, &[&address.to_string(), "another program", "[panel] listen"]);

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = taken.local_addr().unwrap();
    let error = refusal(&["serve", "--config", &sip(folder.path(), udp, "listen_udp", "listen_tcp")]);
    assert_names(&error, &["[sip] `listen_udp`", &udp.to_string(), "another"]);
    let error = refusal(&["serve", "--config", &sip(folder.path(), address, "listen_tcp", "listen_udp")]);
    assert_names(&error, &["[sip] `listen_tcp`", &address.to_string(), "another"]);
}

#[test]
fn sound_that_is_received_where_no_call_sends_it() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = "[[pbx]]\nid = \"exchange\"\nsite = \"osaka\"\n[pbx.sip]\npeers = [\"::1/128\", \"127.0.0.1/32\"]";
    let with = |listen: &str, bind: &str| {
        let sip =
            format!("[sip]\nenabled = true\nlisten_udp = [{listen}]\nlisten_tcp = []\n[media]\nbind = \"{bind}\"");
        config(folder.path(), &format!("{exchange}\n{sip}\n[panel]\nenabled = false"))
    };
    for command in ["check", "serve"] {
        let error = refusal(&[command, "--config", &with("\"[::1]:0\"", "127.0.0.1")]);
        assert_names(
            &error,
            &["[media] bind = \"127.0.0.1\"", "listen_udp [::1]:0", "expected \"::1\"", "[sip] advertised"],
        );
    }
}

fn sip(folder: &Path, address: SocketAddr, key: &str, other: &str) -> String {
    let exchange = "[[pbx]]\nid = \"exchange\"\nsite = \"osaka\"\n[pbx.sip]\npeers = [\"127.0.0.1/32\"]";
    let sip = format!("[sip]\nenabled = true\n{key} = [\"{address}\"]\n{other} = []");
    config(folder, &format!("{NO_TEXT}\n{exchange}\n{sip}\n[panel]\nenabled = false"))
}

#[test]
fn a_wrong_ari_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ari", listener.local_addr().unwrap());
    // answers as Asterisk's own server does, however often it is asked
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = [0; 4096];
            let _ = stream.read(&mut seen);
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let exchange =
        format!("[[pbx]]\nid = \"honcho\"\nsite = \"osaka\"\n[pbx.ari]\nurl = \"{url}\"\npassword = \"himitsu\"");
    let config = config(folder.path(), &format!("{NO_TEXT}\n{exchange}\n[panel]\nenabled = false"));
    let error = refusal(&["serve", "--config", &config]);
    assert_names(&error, &["[pbx.ari] of `honcho`", &url, "\"kakehashi\"", "401", "ari.conf"]);
    assert!(!error.contains("himitsu"), "{error}");
}
