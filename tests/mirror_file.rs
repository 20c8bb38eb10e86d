//! A capture file through the real thread and the real media stage: signals and sound with the times of the capture; what cannot be read is
//! refused with place, expectation and remedy.

#[path = "common/capture.rs"]
mod capture;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use capture::*;
use kakehashi::bridge::Input;
use kakehashi::bridge::media;
use kakehashi::bridge::mirror::{Error, check, interface, spawn};
use kakehashi::call::line::Lines;
use kakehashi::media::codec::decode_ulaw;
use kakehashi::media::settings::Settings as MediaSettings;
use kakehashi::media::{Heard, StreamEventKind};
use kakehashi::pbx::mirror::Settings;
use kakehashi::pbx::{EndCause, Observed, PbxId, Signal, Speaker, StreamId};
use kakehashi::time::Wall;
use tokio::sync::mpsc;

/// Wall time of the first frame that [`file`] writes, and what is between two.
const BEGAN: i64 = 1_795_424_000_000_000;
const STEP: i64 = 20_000;
/// Longest wait; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packets of each speaker.
const PACKETS: u16 = 50;

/// The frames of a call, of which its last `without` are missing; and the place of the first packet of sound.
fn frames(without: usize) -> (Vec<Vec<u8>>, usize) {
    let mut watch = Watch::new(settings());
    watch.kept = Some(Vec::new());
    let talks = pair(1, "0312345678");
    let [own, own2, far, near] = sounds();
    set_up(&mut watch, &talks, sounds());
    let first = watch.kept.as_ref().unwrap().len();
    for n in 0..PACKETS {
        watch.udp(far, own, &rtp(1, n));
        watch.udp(near, own2, &rtp(2, n));
    }
    caller_hangs_up(&mut watch, &talks);
    let mut all = watch.kept.take().unwrap();
    all.truncate(all.len() - without);
    (all, first)
}

/// Plays frames; what the hub and the listener are told until both streams are closed.
fn play(folder: &Path, frames: &[Vec<u8>], pcapng: bool) -> (Vec<Observed>, Vec<Heard>) {
    let path = folder.join("capture");
    std::fs::write(&path, file(frames, pcapng)).unwrap();
    let own = MediaSettings {
        first_port: 23_300,
        last_port: 23_339,
        threads: 1,
        poll_interval_ms: 5,
        ..MediaSettings::default()
    };
    let (sender, heard) = sync_channel(65_536);
    let streams = media::spawn(&own, folder, sender).unwrap();
    let (hub, mut inbox) = mpsc::channel(4_096);
    let settings = Settings { file: path, interface: String::new(), speed: 20.0, ..settings() };
    let handle = spawn(PbxId("test".into()), settings, Arc::new(Lines::default()), streams, hub).unwrap();
    let mut told = Vec::new();
    // until the end of the file
    while let Some(input) = inbox.blocking_recv() {
        let Input::Observed(observed) = input else { panic!("signals only") };
        told.push(observed);
    }
    let (mut sound, mut closed) = (Vec::new(), 0);
    while closed < 2 {
        let one = heard.recv_timeout(PATIENCE).expect("both streams are closed");
        closed += usize::from(matches!(&one, Heard::Event(event) if matches!(event.kind, StreamEventKind::Closed(_))));
        sound.push(one);
    }
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(handle.stop());
    (told, sound)
}

/// The stream of a speaker.
fn stream_of(told: &[Observed], wanted: Speaker) -> StreamId {
    let found = told.iter().find_map(|observed| match &observed.signal {
        Signal::StreamAdded { stream, speaker, .. } if *speaker == wanted => Some(*stream),
        _ => None,
    });
    found.expect("a stream was added")
}

#[test]
fn a_file_gives_signals_and_exact_sound_with_the_times_of_the_capture() {
    for pcapng in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (frames, first) = frames(0);
        let (told, sound) = play(folder.path(), &frames, pcapng);
        let times: Vec<i64> = told.iter().map(|observed| observed.at.wall.0).collect();
        let end = BEGAN + frames.len() as i64 * STEP;
        assert!(times.iter().all(|time| (BEGAN..end).contains(time)), "{times:?}");
        assert!(matches!(told.first().unwrap().signal, Signal::CallAppeared { .. }) && times[0] == BEGAN);
        assert!(told.iter().any(|observed| observed.signal == Signal::CallEnded(EndCause::Normal)));
        for (speaker, who, at) in [(Speaker::Caller, 1, 0), (Speaker::Agent, 2, 1)] {
            let stream = stream_of(&told, speaker);
            let mut pcm: Vec<i16> = Vec::new();
            let mut origin = Wall(0);
            for heard in &sound {
                match heard {
                    Heard::Pcm(frame) if frame.stream == stream => pcm.extend(&frame.samples),
                    Heard::Event(event) if event.stream == stream => match &event.kind {
                        StreamEventKind::First { origin: began, .. } => origin = began.wall,
                        StreamEventKind::Closed(all) => {
                            assert_eq!(
                                (all.packets, all.lost, all.foreign, all.malformed),
                                (u64::from(PACKETS), 0, 0, 0)
                            );
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
            let wanted: Vec<i16> = (0..PACKETS)
                .flat_map(|n| rtp(who, n)[12..].iter().map(|byte| decode_ulaw(*byte)).collect::<Vec<_>>())
                .collect();
            assert!(pcm == wanted, "{speaker:?}: what that speaker said, and nothing else");
            let apart = origin.0 - (BEGAN + (first as i64 + at) * STEP);
            assert!((-STEP..=STEP).contains(&apart), "{speaker:?} began {apart} µs from the capture's time");
        }
    }
}

#[test]
fn a_call_that_outlives_the_file_is_lost_from_sight() {
    let folder = tempfile::tempdir().unwrap();
    // without the BYEs and their answers
    let (frames, _) = frames(4);
    let (told, _) = play(folder.path(), &frames, true);
    assert!(told.iter().any(|observed| observed.signal == Signal::CallEnded(EndCause::LostSight)));
    let removed = told.iter().filter(|observed| matches!(observed.signal, Signal::StreamRemoved(_))).count();
    assert_eq!(removed, 2);
}

#[test]
fn what_cannot_be_read_says_place_expectation_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcap");
    let own = || Settings { file: path.clone(), interface: String::new(), ..settings() };
    let pbx = PbxId("honcho".into());
    let error = check(&pbx, &own()).unwrap_err().to_string();
    assert!(error.contains("[pbx.mirror] of `honcho`: file =") && error.contains("expected a capture"), "{error}");
    std::fs::write(&path, "RIFF").unwrap();
    let error = check(&pbx, &own()).unwrap_err().to_string();
    assert!(error.contains("neither pcap nor pcapng") && error.contains("Wireshark"), "{error}");
    std::fs::write(&path, file(&[], true)).unwrap();
    check(&pbx, &own()).unwrap();
    let error = check(&pbx, &Settings { speed: 0.0, ..own() }).unwrap_err().to_string();
    assert!(error.contains("speed: 0 cannot be; expected 0.1 to 100"), "{error}");
    // an interface that is not there; the right to read packets is asked for later
    let (sender, _heard) = sync_channel(16);
    let own = MediaSettings { first_port: 23_340, last_port: 23_349, ..MediaSettings::default() };
    let streams = media::spawn(&own, folder.path(), sender).unwrap();
    let (hub, _inbox) = mpsc::channel(16);
    let nowhere = Settings { interface: "nowhere0".into(), ..settings() };
    let error = spawn(pbx, nowhere, Arc::new(Lines::default()), streams, hub).unwrap_err();
    let Error::Interface { wrong: interface::Wrong::Unknown(names), .. } = error else { panic!("{error}") };
    assert!(names.split(", ").any(|name| name == "lo"), "{names}");
}
