//! The endpointer on a recorded call and on what is no speech.

use super::*;

const RATE: u32 = 8_000;

/// A channel of the sample call (0 caller, 1 agent) and the utterances that were said on it, in seconds.
fn call(channel: usize) -> (Vec<i16>, Vec<(f64, f64)>) {
    let wav = include_bytes!("../../../samples/calls/call1.wav");
    let samples: Vec<i16> =
        hound::WavReader::new(wav.as_slice()).unwrap().into_samples::<i16>().map(Result::unwrap).collect();
    let pcm = samples.chunks_exact(2).map(|pair| pair[channel]).collect();
    let told: serde_json::Value = serde_json::from_str(include_str!("../../../samples/calls/call1.json")).unwrap();
    let name = ["caller", "agent"][channel];
    let said = told["utterances"].as_array().unwrap().iter().filter(|one| one["channel"] == name);
    (pcm, said.map(|one| (one["start"].as_f64().unwrap(), one["end"].as_f64().unwrap())).collect())
}

fn events(endpointer: &mut Endpointer, position: u64, samples: &[i16], piece: usize) -> Vec<SpeechEventKind> {
    let mut out = Vec::new();
    for (n, samples) in samples.chunks(piece).enumerate() {
        endpointer.push(position + (n * piece) as u64, samples, &mut out);
    }
    out
}

fn all(samples: &[i16], piece: usize) -> Vec<SpeechEventKind> {
    let mut endpointer = Endpointer::new(&Settings::default(), RATE);
    let mut out = events(&mut endpointer, 0, samples, piece);
    endpointer.finish(&mut out);
    out
}

fn utterances(events: &[SpeechEventKind]) -> Vec<&Utterance> {
    fn ended(event: &SpeechEventKind) -> Option<&Utterance> {
        match event {
            SpeechEventKind::Ended(utterance) => Some(utterance),
            SpeechEventKind::Started { .. } | SpeechEventKind::Running(_) => None,
        }
    }
    events.iter().filter_map(ended).collect()
}

#[test]
fn what_was_said_in_the_sample_call_is_found_whole_and_in_true_time() {
    for channel in 0..2 {
        let (pcm, said) = call(channel);
        let events = all(&pcm, 160);
        let found = utterances(&events);
        // a pause inside a sentence may split it; nothing that was said lies outside
        assert!(
            found.len() >= said.len() && found.len() <= said.len() + 3,
            "{channel}: {} of {}",
            found.len(),
            said.len()
        );
        for utterance in &found {
            let (start, end) = (utterance.start.0 as f64 / 1e6, utterance.end.0 as f64 / 1e6);
            assert!(said.iter().any(|one| start > one.0 - 0.45 && end < one.1 + 0.45), "{channel}: {start}–{end}");
            let from = utterance.start.to_sample(RATE) as usize;
            assert_eq!(utterance.pcm[..], pcm[from..from + utterance.pcm.len()], "the sound of its own place");
            assert_eq!(MediaTime::of_sample((from + utterance.pcm.len()) as u64, RATE), utterance.end);
        }
        let loud = |n: &usize| pcm[*n].unsigned_abs() > 300;
        let inside = |n: &usize| {
            let at = MediaTime::of_sample(*n as u64, RATE);
            found.iter().any(|one| one.start <= at && at < one.end)
        };
        let (all, missed) =
            ((0..pcm.len()).filter(loud).count(), (0..pcm.len()).filter(loud).filter(|n| !inside(n)).count());
        assert!(missed * 500 < all, "{channel}: {missed} of {all} loud samples lie outside");
    }
}

#[test]
fn every_start_has_its_end_and_the_size_of_the_pieces_does_not_matter() {
    let (pcm, _) = call(1);
    let events = all(&pcm, 160);
    assert_eq!(events, all(&pcm, 1_371));
    assert_eq!(events, all(&pcm, pcm.len()));
    for (n, pair) in events.chunks(2).enumerate() {
        let [SpeechEventKind::Started { utterance, start }, SpeechEventKind::Ended(ended)] = pair else {
            panic!("{pair:?}")
        };
        assert_eq!((*utterance, ended.number, *start), (n as u32, n as u32, ended.start));
    }
}

#[test]
fn a_gap_ends_the_utterance_and_what_follows_stands_at_its_true_time() {
    let (pcm, said) = call(1);
    let middle = ((said[0].0 + said[0].1) / 2.0 * f64::from(RATE)) as usize;
    let mut endpointer = Endpointer::new(&Settings::default(), RATE);
    let mut out = events(&mut endpointer, 0, &pcm[..middle], 160);
    let later = 3_600 * u64::from(RATE);
    out.extend(events(&mut endpointer, later + middle as u64, &pcm[middle..], 160));
    endpointer.finish(&mut out);
    let found = utterances(&out);
    assert!(found[0].end.0 as f64 / 1e6 < said[0].1, "cut by the gap");
    assert!(found[0].pcm.len() <= middle);
    let after = found.iter().find(|one| one.start.0 >= 3_600_000_000).unwrap();
    let from = (after.start.to_sample(RATE) - later) as usize;
    assert_eq!(after.pcm[..], pcm[from..from + after.pcm.len()]);
    assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start && pair[0].number + 1 == pair[1].number));
}

#[test]
fn a_short_gap_is_silence_and_repeated_samples_are_skipped() {
    let (pcm, _) = call(0);
    let whole = all(&pcm, 160);
    let mut endpointer = Endpointer::new(&Settings::default(), RATE);
    let mut out = Vec::new();
    for (n, samples) in pcm.chunks(160).enumerate() {
        endpointer.push(n as u64 * 160, samples, &mut out);
        endpointer.push((n as u64 * 160).saturating_sub(300), &pcm[(n * 160).saturating_sub(300)..n * 160], &mut out);
    }
    endpointer.finish(&mut out);
    assert_eq!(out, whole, "what came twice is heard once");
    let mut holed = pcm.clone();
    let first = utterances(&whole)[0].start.to_sample(RATE) as usize;
    let (from, to) = (first + 8_000, first + 8_320);
    holed[from..to].fill(0);
    let mut endpointer = Endpointer::new(&Settings::default(), RATE);
    let mut out = events(&mut endpointer, 0, &pcm[..from], 160);
    out.extend(events(&mut endpointer, to as u64, &pcm[to..], 160));
    endpointer.finish(&mut out);
    assert_eq!(out, all(&holed, 160), "40 ms that never came are 40 ms of silence");
}

#[test]
fn speech_without_a_pause_is_cut_and_nothing_of_it_is_lost() {
    let (pcm, _) = call(1);
    let found = all(&pcm, 160);
    let long: Vec<i16> =
        utterances(&found).iter().flat_map(|one| one.pcm[2_400..one.pcm.len() - 2_400].to_vec()).collect();
    let long = long.repeat(3);
    let settings = Settings { hangover_ms: 5_000, ..Settings::default() };
    let mut endpointer = Endpointer::new(&settings, RATE);
    let mut out = events(&mut endpointer, 0, &long, 160);
    let most = endpointer.sound.capacity().max(endpointer.scores.capacity());
    endpointer.finish(&mut out);
    let found = utterances(&out);
    let forced: Vec<_> = found.iter().filter(|one| one.forced).collect();
    assert!(forced.len() >= 4, "{} cuts in {} s", forced.len(), long.len() / 8_000);
    assert!(found.iter().all(|one| one.pcm.len() <= 14 * 8_000 + 128));
    for pair in found.windows(2).filter(|pair| pair[0].forced) {
        assert_eq!(pair[0].end, pair[1].start, "the next one begins where the cut was made");
    }
    assert!(most < 400_000, "the buffers hold one utterance, not the call: {most}");
}

#[test]
fn what_is_no_speech_gives_nothing() {
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(seed >> 8) / f64::from(1 << 24) - 0.5
    };
    let seconds = 30 * RATE as usize;
    let tone = |hz: &[f64], on: f64, off: f64, level: f64| -> Vec<i16> {
        let sample = |n: usize| {
            let t = n as f64 / f64::from(RATE);
            let sum: f64 = hz.iter().map(|hz| (std::f64::consts::TAU * hz * t).sin()).sum();
            if t % (on + off) < on { (sum * level) as i16 } else { 0 }
        };
        (0..seconds).map(sample).collect()
    };
    let sounds: [(&str, Vec<i16>); 6] = [
        ("silence", vec![0; seconds]),
        ("faint noise", (0..seconds).map(|_| (noise() * 40.0) as i16).collect()),
        ("noise", (0..seconds).map(|_| (noise() * 600.0) as i16).collect()),
        ("ringing tone", tone(&[400.0, 415.6], 1.0, 2.0, 3_000.0)),
        ("busy tone", tone(&[400.0], 0.5, 0.5, 5_000.0)),
        ("digits", tone(&[697.0, 1_209.0], 0.2, 0.1, 5_000.0)),
    ];
    for (name, sound) in sounds {
        let events = all(&sound, 160);
        assert!(utterances(&events).is_empty(), "{name}: {} utterances", utterances(&events).len());
    }
}

fn running(events: &[SpeechEventKind]) -> Vec<&Utterance> {
    fn so_far(event: &SpeechEventKind) -> Option<&Utterance> {
        match event {
            SpeechEventKind::Running(utterance) => Some(utterance),
            _ => None,
        }
    }
    events.iter().filter_map(so_far).collect()
}

#[test]
fn copies_of_a_running_utterance_are_made_only_when_wanted_and_are_its_beginning() {
    let (pcm, _) = call(1);
    assert!(running(&all(&pcm, 160)).is_empty(), "nobody asked");
    for (every_ms, piece) in [(600, 160), (1_300, 160), (2_000, 4_000)] {
        let mut endpointer = Endpointer::new(&Settings::default(), RATE);
        endpointer.want(Some(Duration::from_millis(every_ms)));
        let mut out = events(&mut endpointer, 0, &pcm, piece);
        endpointer.finish(&mut out);
        let without: Vec<SpeechEventKind> =
            out.iter().filter(|event| !matches!(event, SpeechEventKind::Running(_))).cloned().collect();
        assert_eq!(without, all(&pcm, 160), "utterances are cut as without copies");
        let copies = running(&out);
        assert!(copies.len() > 8, "{}", copies.len());
        for whole in utterances(&out) {
            let of_it: Vec<_> = copies.iter().filter(|copy| copy.number == whole.number).collect();
            let long = whole.end.0 - whole.start.0 > 1_400_000;
            assert!(!long || !of_it.is_empty(), "{:?}", whole.start);
            for copy in &of_it {
                assert_eq!((copy.start, copy.forced), (whole.start, false));
                assert_eq!(copy.pcm[..], whole.pcm[..copy.pcm.len()], "the same sound");
            }
            if let Some(first) = of_it.first() {
                // pre-roll, then 600 ms of speech, and the frames that the detector needs
                let heard = (first.end.0 - first.start.0) / 1_000;
                assert!((600..=1_250).contains(&heard), "the first after {heard} ms");
            }
            for pair in of_it.windows(2) {
                assert!(pair[1].end.0 > pair[0].end.0, "each has more than the one before");
            }
        }
    }
}

#[test]
fn copies_follow_the_pace_and_stop_when_none_are_wanted() {
    let (pcm, said) = call(1);
    let to = (said[0].1 * f64::from(RATE)) as usize;
    let count = |pace: &dyn Fn(usize) -> Option<Duration>| {
        let mut endpointer = Endpointer::new(&Settings::default(), RATE);
        let mut out = Vec::new();
        for (n, samples) in pcm[..to].chunks(160).enumerate() {
            endpointer.want(pace(n));
            endpointer.push(n as u64 * 160, samples, &mut out);
        }
        running(&out).len()
    };
    let (often, seldom) = (count(&|_| Some(Duration::from_millis(600))), count(&|_| Some(Duration::from_secs(2))));
    assert!(often > 2 * seldom && seldom > 0, "{often} and {seldom}");
    assert_eq!(count(&|_| None), 0);
    let half = count(&|n| (n * 160 < to / 2).then_some(Duration::from_millis(600)));
    assert!(half > 0 && half < often, "{half} of {often}");
}

#[test]
fn wherever_the_stream_ends_what_was_said_until_then_is_an_utterance() {
    let (pcm, said) = call(1);
    for (from, to) in said.iter().take(4) {
        for step in 0..12 {
            // in the middle of a word as likely as not
            let until = from + 0.7 + (to - from - 0.7) * f64::from(step) / 11.0;
            let cut = &pcm[..(until * f64::from(RATE)) as usize];
            let mut endpointer = Endpointer::new(&Settings::default(), RATE);
            endpointer.want(Some(Duration::from_millis(600)));
            let mut out = events(&mut endpointer, 0, cut, 160);
            endpointer.finish(&mut out);
            let found = utterances(&out);
            let last = found.last().expect("an utterance");
            let end = last.end.to_sample(RATE) as usize;
            let lost = cut[end..].iter().filter(|sample| sample.unsigned_abs() > 300).count();
            // a word that had only just begun is too short to be one
            assert!(lost < 2_000, "cut at {until}: {lost} loud samples after the last utterance");
            assert!(matches!(out.last(), Some(SpeechEventKind::Ended(_))), "nothing comes after it");
        }
    }
}
