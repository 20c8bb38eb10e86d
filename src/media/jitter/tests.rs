//! The jitter buffer with packets in every order.

use super::*;

const FRAME: usize = 160;

struct Line {
    jitter: Jitter,
    pcm: Vec<i16>,
    gaps: Vec<Gap>,
}

impl Line {
    fn new() -> Line {
        let jitter = Jitter::new(8_000, 8_000, Duration::from_millis(200));
        Line { jitter, pcm: Vec::new(), gaps: Vec::new() }
    }

    /// Packet `n` of a stream whose sample `i` is `i + 1`, arriving at `ms`.
    fn packet(&mut self, ms: u64, n: u64, ssrc: u32, seq0: u16, ts0: u32) {
        let samples = (0..FRAME as u64).map(|i| (n * FRAME as u64 + i + 1) as i16).collect();
        let sequence = seq0.wrapping_add(n as u16);
        let timestamp = ts0.wrapping_add((n * FRAME as u64) as u32);
        let audio = Audio { sequence, timestamp, sound: Sound::Pcm(samples) };
        self.jitter.insert(Mono(ms * 1_000_000), ssrc, audio, &mut self.pcm, &mut self.gaps);
    }

    fn flush(&mut self) {
        self.jitter.flush(&mut self.pcm, &mut self.gaps);
    }
}

fn ramp(packets: usize) -> Vec<i16> {
    (1..=(packets * FRAME) as i16).collect()
}

#[test]
fn in_order_with_both_counters_wrapping() {
    let mut line = Line::new();
    for n in 0..10 {
        line.packet(n * 20, n, 7, 65_531, u32::MAX - 500);
    }
    assert_eq!(line.pcm, ramp(10));
    assert!(line.gaps.is_empty());
    assert_eq!(line.jitter.counts(), Counts::default());
}

#[test]
fn reordered_and_doubled_packets_come_out_once_in_order() {
    let mut line = Line::new();
    for (ms, n) in [(0, 0), (20, 2), (25, 1), (30, 2), (60, 3), (70, 0), (80, 5), (85, 4)] {
        line.packet(ms, n, 7, 100, 0);
    }
    line.flush();
    assert_eq!(line.pcm, ramp(6));
    let counts = line.jitter.counts();
    assert_eq!((counts.lost, counts.late + counts.duplicates), (0, 2));
}

#[test]
fn a_lost_packet_is_a_marked_gap_of_its_own_length() {
    let mut line = Line::new();
    for n in [0, 1, 3, 4] {
        line.packet(n * 20, n, 7, 100, 0);
    }
    assert_eq!(line.pcm.len(), 2 * FRAME, "it is waited for");
    line.jitter.handle_timeout(Mono(260_000_000), &mut line.pcm, &mut line.gaps);
    assert_eq!(line.gaps, [Gap { from: 320, to: 480 }]);
    assert_eq!(line.pcm.len(), 5 * FRAME);
    assert!(line.pcm[320..480].iter().all(|sample| *sample == 0));
    assert_eq!(line.pcm[480..640], ramp(4)[480..]);
    assert_eq!((line.jitter.counts().lost, line.jitter.counts().gap_samples), (1, 160));
}

#[test]
fn a_packet_after_its_gap_was_given_up_is_late_and_changes_nothing() {
    let mut line = Line::new();
    for (ms, n) in [(0, 0), (40, 2), (260, 3), (270, 1)] {
        line.packet(ms, n, 7, 100, 0);
    }
    assert_eq!(line.pcm.len(), 4 * FRAME);
    assert_eq!(line.jitter.counts().late, 1);
}

#[test]
fn silence_that_was_not_sent_is_no_loss() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 100, 0);
    // The next packet in sequence, one second later in time: DTX.
    let audio = Audio { sequence: 101, timestamp: 8_000, sound: Sound::Pcm(vec![9; FRAME]) };
    line.jitter.insert(Mono(1_000_000_000), 7, audio, &mut line.pcm, &mut line.gaps);
    assert_eq!(line.pcm.len(), 8_000 + FRAME);
    assert!(line.gaps.is_empty());
}

#[test]
fn a_new_source_goes_on_by_arrival_time() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 100, 0);
    line.packet(20, 1, 7, 100, 0);
    line.packet(100, 0, 8, 9_000, 77_777);
    line.packet(120, 1, 8, 9_000, 77_777);
    assert_eq!(line.pcm.len(), 7 * FRAME, "packet at 100 ms stands at 100 ms");
    assert_eq!(line.pcm[5 * FRAME], 1);
}

#[test]
fn a_timestamp_that_jumps_an_hour_does_not_write_an_hour() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 100, 0);
    let audio = Audio { sequence: 101, timestamp: 8_000 * 3_600, sound: Sound::Pcm(vec![9; FRAME]) };
    line.jitter.insert(Mono(20_000_000), 7, audio, &mut line.pcm, &mut line.gaps);
    assert_eq!(line.pcm.len(), 2 * FRAME);
}

#[test]
fn one_wild_sequence_number_is_ignored_and_a_restart_is_followed() {
    let mut line = Line::new();
    for n in 0..3 {
        line.packet(n * 20, n, 7, 100, 0);
    }
    line.packet(60, 0, 7, 40_000, 90_000);
    line.packet(60, 3, 7, 100, 0);
    assert_eq!(line.pcm, ramp(4));
    line.packet(80, 0, 7, 20_000, 500_000);
    line.packet(100, 1, 7, 20_000, 500_000);
    line.packet(120, 2, 7, 20_000, 500_000);
    assert_eq!(line.pcm.len(), 7 * FRAME, "the first packet of the restart was on probation");
}

#[test]
fn a_late_packet_was_not_lost_and_a_repeated_one_is_a_duplicate() {
    let mut line = Line::new();
    for n in [0, 2, 3] {
        line.packet(n * 20, n, 7, 0, 0);
    }
    line.jitter.handle_timeout(Mono(400_000_000), &mut line.pcm, &mut line.gaps);
    assert_eq!(line.jitter.counts().lost, 1);
    line.packet(410, 1, 7, 0, 0);
    line.packet(411, 1, 7, 0, 0);
    line.packet(412, 3, 7, 0, 0);
    let counts = line.jitter.counts();
    assert_eq!((counts.lost, counts.late, counts.duplicates), (0, 1, 2));
}

#[test]
fn a_straggler_of_the_old_source_does_not_change_it_back() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 0, 0);
    line.packet(20, 1, 9, 500, 70_000);
    line.packet(25, 1, 7, 0, 0);
    line.packet(40, 2, 9, 500, 70_000);
    assert_eq!((line.pcm.len(), line.jitter.counts().late), (3 * FRAME, 1));
}

#[test]
fn time_goes_on_without_packets_and_what_comes_then_is_not_lost() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 0, 0);
    line.jitter.handle_timeout(Mono(1_900_000_000), &mut line.pcm, &mut line.gaps);
    assert_eq!(line.pcm.len(), FRAME, "a short stall is waited for");
    line.jitter.handle_timeout(Mono(12_000_000_000), &mut line.pcm, &mut line.gaps);
    assert_eq!(line.pcm.len(), 80_000, "ten of twelve seconds");
    // The sender's timestamps stood still; its packets belong where they arrive.
    line.packet(12_010, 1, 7, 0, 0);
    line.packet(12_030, 2, 7, 0, 0);
    assert_eq!(line.pcm.len() as u64, 12_010 * 8 + 2 * FRAME as u64);
    assert_eq!((line.gaps.len(), line.jitter.counts().lost), (0, 0));
}

#[test]
fn a_stall_and_its_burst_lose_and_stretch_nothing() {
    let mut line = Line::new();
    line.packet(0, 0, 7, 0, 0);
    line.jitter.handle_timeout(Mono(1_500_000_000), &mut line.pcm, &mut line.gaps);
    for n in 1..75 {
        line.packet(1_500, n, 7, 0, 0);
    }
    assert_eq!(line.pcm, ramp(75));
}

#[test]
fn timestamps_that_run_ahead_of_the_clock_write_no_more_than_ten_seconds() {
    let mut line = Line::new();
    for n in 0..1_000u16 {
        let audio = Audio { sequence: n, timestamp: u32::from(n) * 20_000, sound: Sound::Pcm(vec![1; 160]) };
        line.jitter.insert(Mono(0), 7, audio, &mut line.pcm, &mut line.gaps);
    }
    assert!(line.pcm.len() <= 80_000 + 1_000 * FRAME, "{}", line.pcm.len());
}

#[test]
fn timestamps_that_begin_anew_under_the_same_numbers_lose_no_sound() {
    let mut line = Line::new();
    for n in 0..100 {
        line.packet(n * 20, n, 7, 0, 0);
    }
    line.packet(2_000, 100, 7, 0, 0u32.wrapping_sub(8_000));
    line.packet(2_020, 101, 7, 0, 0u32.wrapping_sub(8_000));
    assert_eq!(line.pcm.len(), 102 * FRAME);
}

#[test]
fn random_numbers_never_make_it_grow_without_bound() {
    let mut line = Line::new();
    let mut x = 1u64;
    for n in 0..100_000u64 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let audio = Audio { sequence: x as u16, timestamp: (x >> 16) as u32, sound: Sound::Pcm(vec![1; 160]) };
        line.jitter.insert(Mono(n * 20_000_000), (x >> 60) as u32 & 1, audio, &mut line.pcm, &mut line.gaps);
        assert!(line.jitter.held.len() <= MOST_HELD + 1);
        line.pcm.clear();
        line.gaps.clear();
    }
    assert!(line.jitter.position() < 8_000 * 2_100 * 2, "time runs with the clock: {}", line.jitter.position());
}
