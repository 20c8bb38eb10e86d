//! Recognition of speech that is played in true time, beside whisper.cpp's own server: from the end of speech to its text, and how many calls two
//! cores carry. The bridge is a real `kakehashi serve` that is called by SIP; the text counts when its signed webhook has arrived. The server gets
//! the same utterances, cut by the same detector in the same moments, over HTTP. Prints `name value unit [95 % interval]` lines.
//!
//! `cargo bench --bench speech`; its settings are environment variables:
//!
//! | variable | default | |
//! |---|---|---|
//! | `KAKEHASHI_BENCH_PARTS` | `ear,paced,capacity` | what is measured; `capacity-bridge` and `capacity-server` measure one side of the last |
//! | `KAKEHASHI_BENCH_SECONDS` | 60 | for how long people speak in each step |
//! | `KAKEHASHI_BENCH_STREAMS` | `1,2,4,8` | streams of the paced part |
//! | `KAKEHASHI_BENCH_CALLS` | `8,16,24,32,48,64,80,96,128,160` | two-party calls of the steps of `capacity`; it ends with the first that fails |
//! | `KAKEHASHI_BENCH_SET` | `samples/eval` | utterances |
//! | `KAKEHASHI_BENCH_MODEL` | `models/kakehashi-lab-ja.bin` | |
//! | `LAB_DIR` | `.lab` | where `tests/lab/setup.sh --root` has put whisper.cpp; without it only the bridge is measured |

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use kakehashi::media::resample::Upsampler;
use kakehashi::speech::endpoint::Endpointer;
use kakehashi::speech::settings::Settings;

#[path = "speech/bridge.rs"]
mod bridge;
#[path = "speech/figures.rs"]
mod figures;
#[path = "../tests/common/hook.rs"]
mod hook;
#[path = "../tests/common/scene.rs"]
mod scene;
#[path = "../tests/common/serve.rs"]
mod serve;
#[path = "speech/server.rs"]
mod server;
#[path = "../tests/common/talk.rs"]
mod talk;
#[path = "../tests/common/told.rs"]
mod told;

use figures::{Figures, Interval, Run, ratio};
use scene::{Scene, Utterance, set};

/// Delay of a final, hangover included, with the shipped model and one call (DESIGN: p50, p95), in seconds.
const FINAL_S: (f64, f64) = (1.0, 1.6);
/// Delay of the first partial, in seconds.
const PARTIAL_S: (f64, f64) = (0.9, 1.5);
/// What the 95th percentile of finals may be while calls are carried, in seconds.
const CARRIED_S: f64 = 2.0;

/// What is measured.
pub(crate) struct Size {
    pub(crate) seconds: f64,
    pub(crate) model: PathBuf,
    /// Recognisers of the bridge; threads of the server.
    pub(crate) cores: usize,
}

fn text(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn numbers(name: &str, default: &str) -> Vec<usize> {
    text(name, default).split(',').map(|one| one.trim().parse().unwrap_or_else(|_| panic!("{name}: {one:?}"))).collect()
}

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/speech: a debug build measures nothing; run `cargo bench --bench speech`");
        std::process::exit(2);
    }
    let set = set(Path::new(&text("KAKEHASHI_BENCH_SET", "samples/eval")));
    let seconds = text("KAKEHASHI_BENCH_SECONDS", "60").parse().unwrap();
    let model = PathBuf::from(text("KAKEHASHI_BENCH_MODEL", "models/kakehashi-lab-ja.bin"));
    let size = Size { seconds, model, cores: 1 };
    about(&size);
    for part in text("KAKEHASHI_BENCH_PARTS", "ear,paced,capacity").split(',') {
        match part {
            "ear" => ear(&set),
            "paced" => paced(&set, &size),
            "capacity" => SIDES.iter().for_each(|side| capacity(&set, &size, *side)),
            "capacity-bridge" => capacity(&set, &size, SIDES[0]),
            "capacity-server" => SIDES[1..].iter().for_each(|side| capacity(&set, &size, *side)),
            other => panic!("KAKEHASHI_BENCH_PARTS: {other:?}"),
        }
    }
}

/// Which program recognises.
#[derive(Clone, Copy)]
enum Side {
    Bridge,
    /// So many processes of whisper-server, which share the cores: one decodes one utterance at a time.
    Servers(usize),
}

const SIDES: [Side; 3] = [Side::Bridge, Side::Servers(1), Side::Servers(2)];

impl Side {
    fn run(self, scenes: &[Scene], size: &Size) -> Run {
        match self {
            Side::Bridge => bridge::run(scenes, size),
            Side::Servers(count) => server::run(scenes, size, count),
        }
    }
}

fn about(size: &Size) {
    let output = |program: &str, arguments: &[&str]| {
        let run = Command::new(program).args(arguments).output();
        run.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    };
    println!("# load before: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("# model {}", size.model.display());
    println!("# ours: {}", kakehashi::speech::whisper::Whisper::engine());
    match server::version() {
        Some(version) => println!("# whisper-server: whisper.cpp {version}"),
        None => println!("# whisper-server: not there (tests/lab/setup.sh --root); only the bridge is measured"),
    }
    println!(
        "# processor features: {}",
        output(
            "sh",
            &["-c", "grep -m1 ^flags /proc/cpuinfo | grep -oE 'avx[^ ]*|amx[^ ]*|fma' | sort -u | tr '\\n' ' '"]
        )
    );
}

/// What is done to sound besides decoding: resampling to 16 kHz, and voice detection.
fn ear(set: &[Utterance]) {
    let seconds = set.iter().map(|one| one.pcm.len()).sum::<usize>() as f64 / 8_000.0;
    let fastest = |name: &str, work: &dyn Fn(&[i16])| {
        let rounds = (0..5).map(|_| {
            let began = Instant::now();
            set.iter().for_each(|one| work(&one.pcm));
            began.elapsed().as_secs_f64()
        });
        let best = rounds.fold(f64::INFINITY, f64::min);
        println!("ear_{name} {:.4} ms for each second of sound", best * 1_000.0 / seconds);
    };
    fastest("resampling", &|pcm| {
        let mut out = Vec::with_capacity(2 * pcm.len());
        Upsampler::new().push(pcm, &mut out);
        std::hint::black_box(out);
    });
    fastest("voice_detection", &|pcm| {
        let (mut ear, mut found) = (Endpointer::new(&Settings::default(), 8_000), Vec::new());
        for (n, frame) in pcm.chunks(talk::FRAME).enumerate() {
            ear.push((n * talk::FRAME) as u64, frame, &mut found);
        }
        ear.finish(&mut found);
        std::hint::black_box(found);
    });
}

/// One-party calls, each speaking in its own pace.
fn scenes(set: &[Utterance], count: usize, lines: usize, seconds: f64) -> Vec<Scene> {
    (0..count).map(|n| Scene::play(set, lines, seconds, n as u64 + 1_000 * lines as u64)).collect()
}

/// 1, 2, 4 and 8 streams: each side with one thread of recognition.
fn paced(set: &[Utterance], size: &Size) {
    for streams in numbers("KAKEHASHI_BENCH_STREAMS", "1,2,4,8") {
        let scenes = scenes(set, streams, 1, size.seconds);
        let ours = Figures::of(&scenes, Side::Bridge.run(&scenes, size));
        let name = format!("paced_{streams}");
        ours.print(&format!("{name}_bridge"), (streams == 1).then_some(FINAL_S));
        ours.print_partials(&format!("{name}_bridge"), PARTIAL_S);
        if server::version().is_none() {
            continue;
        }
        let theirs = Figures::of(&scenes, Side::Servers(1).run(&scenes, size));
        theirs.print(&format!("{name}_server"), None);
        for (of, share) in [("p50", 0.50), ("p95", 0.95), ("p99", 0.99)] {
            println!("{name}_final_{of}_bridge_over_server {}", ratio(&ours.delays, &theirs.delays, share));
        }
        println!("{name}_cpu_bridge_over_server {:.2}", ours.cores / theirs.cores);
    }
}

/// Calls of two parties on two cores, more with each step, until texts come too late.
fn capacity(set: &[Utterance], size: &Size, side: Side) {
    let size = Size { model: size.model.clone(), cores: 2, ..*size };
    let name = match side {
        Side::Bridge => "bridge".to_owned(),
        Side::Servers(_) if server::version().is_none() => return,
        Side::Servers(count) => format!("{count}_server"),
    };
    let mut carried = None;
    for calls in numbers("KAKEHASHI_BENCH_CALLS", "8,16,24,32,48,64,80,96,128,160") {
        let scenes = scenes(set, calls, 2, size.seconds);
        let figures = Figures::of(&scenes, side.run(&scenes, &size));
        figures.print(&format!("capacity_{name}_{calls}_calls"), None);
        let p95 = Interval::of(&figures.delays, 0.95);
        if p95.value > CARRIED_S || figures.lost > 0 {
            break;
        }
        carried = Some((calls, p95));
    }
    match carried {
        Some((calls, p95)) => println!("capacity_{name} {calls} calls (final p95 {p95}; at most {CARRIED_S} s)"),
        None => println!("capacity_{name} fewer calls than the first step"),
    }
}
