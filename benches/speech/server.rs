//! The other side: whisper.cpp's own `whisper-server` from the laboratory's root. Its client cuts the same sound by the bridge's own detector in the
//! moments when the bridge would get it, and posts each utterance at once; the client's work is not counted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kakehashi::media::resample::Upsampler;
use kakehashi::speech::endpoint::Endpointer;
use kakehashi::speech::manifest::Manifest;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{SpeechEventKind, Utterance};
use serde_json::Value;

use crate::Size;
use crate::figures::{Heard, Run};
use crate::scene::Scene;
use crate::serve::process_cpu;
use crate::talk::{FRAME, pace};

/// Longest wait for the server's start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Positions of a whole window.
const WINDOW: u32 = 1_500;

fn root() -> PathBuf {
    let lab =
        std::env::var_os("LAB_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab"), PathBuf::from);
    lab.join("root")
}

/// Version of the package; `None` when it is not installed.
pub(crate) fn version() -> Option<String> {
    root().join("usr/bin/whisper-server").exists().then_some(())?;
    let output =
        Command::new("chroot").arg(root()).args(["dpkg-query", "-W", "-f", "${Version}", "whisper.cpp"]).output();
    Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
}

/// A running server.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(size: &Size, threads: usize) -> Server {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        // as the bridge decodes: greedy, no second try, no timestamps
        let process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/whisper_cli.sh"))
            .env("WHISPER_PROGRAM", "whisper-server")
            .args(["-m", size.model.to_str().unwrap(), "-l", "ja", "-t", &threads.to_string()])
            .args(["-nt", "-sns", "-nf", "-bs", "1", "-bo", "1", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(server.address).is_err() {
            assert!(Instant::now() < deadline, "whisper-server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Plays the scenes to so many servers, which share the cores; each gets every so-manieth utterance.
pub(crate) fn run(scenes: &[Scene], size: &Size, count: usize) -> Run {
    let servers: Vec<Server> = (0..count).map(|_| Server::start(size, size.cores / count)).collect();
    let used = || servers.iter().map(|server| process_cpu(server.process.id())).sum::<f64>();
    let notes = std::fs::read_to_string(size.model.with_extension("toml")).unwrap_or_default();
    let manifest = Manifest::parse(&notes).unwrap();
    // the first request makes the server's buffers, as the bridge's recognisers make theirs at their start
    servers.iter().for_each(|server| _ = post(server.address, &vec![0.0; 16_000], 0).expect("it answers"));
    let settings = Settings::default();
    let line = |scene: &Scene| (0..scene.lines.len()).map(|_| Endpointer::new(&settings, 8_000)).collect::<Vec<_>>();
    let mut ears: Vec<Vec<Endpointer>> = scenes.iter().map(line).collect();
    let frames = scenes.iter().map(|scene| scene.lines[0].length.div_ceil(FRAME)).max().unwrap_or(0);
    let (answers, answered) = channel();
    let (cpu, began, mut asked) = (used(), Instant::now(), 0);
    let mut ask = |call: usize, line: usize, utterance: Utterance| {
        let address = servers[asked % count].address;
        asked += 1;
        let (answers, manifest) = (answers.clone(), manifest.clone());
        std::thread::spawn(move || {
            let mut pcm = Vec::with_capacity(2 * utterance.pcm.len());
            Upsampler::new().push(&utterance.pcm, &mut pcm);
            let text = post(address, &pcm, manifest.window(pcm.len(), WINDOW)).unwrap_or_default();
            let (from, to) = (utterance.start.to_sample(8_000) as usize, utterance.end.to_sample(8_000) as usize);
            let _ = answers.send(Heard { call, line, from, to, text, at: Instant::now() });
        });
    };
    let sent = pace(frames, |n| {
        let mut found = Vec::new();
        for (call, (scene, ears)) in scenes.iter().zip(&mut ears).enumerate() {
            for (line, (sound, ear)) in scene.lines.iter().zip(ears).enumerate() {
                ear.push((n * FRAME) as u64, &sound.samples(n * FRAME, (n + 1) * FRAME), &mut found);
                for kind in found.drain(..) {
                    if let SpeechEventKind::Ended(utterance) = kind {
                        ask(call, line, utterance);
                    }
                }
            }
        }
    });
    let cores = (used() - cpu) / began.elapsed().as_secs_f64();
    drop(answers);
    Run { sent, finals: answered.iter().collect(), partials: Vec::new(), cores }
}

/// One utterance (16 kHz) to the server; its text.
fn post(server: SocketAddr, pcm: &[f32], window: u32) -> Option<String> {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend(format!("--part\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes());
        body.extend_from_slice(content);
        body.extend(b"\r\n");
    };
    part("name=\"response_format\"", b"json");
    part("name=\"audio_ctx\"", window.to_string().as_bytes());
    part("name=\"file\"; filename=\"utterance.wav\"\r\nContent-Type: audio/wav", &wav(pcm));
    body.extend(b"--part--\r\n");
    let mut stream = TcpStream::connect(server).ok()?;
    let head = format!(
        "POST /inference HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=part\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, json) = answer.split_once("\r\n\r\n")?;
    let json: Value = serde_json::from_str(json).ok()?;
    Some(json["text"].as_str()?.trim().to_owned())
}

/// A WAV file, 16 kHz, mono, 16 bit.
fn wav(pcm: &[f32]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut out = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut out, spec).unwrap();
    for sample in pcm {
        writer.write_sample((sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
    out.into_inner()
}
