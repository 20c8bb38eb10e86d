//! Sound into true time, in virtual time.

use super::*;
use crate::time::Wall;

const FRAME: usize = 320;

fn at(ms: u64) -> Now {
    Now { mono: Mono(10_000_000_000 + ms * 1_000_000), wall: Wall(1_795_424_000_000_000 + ms as i64 * 1_000) }
}

/// Sequence, timestamp and samples of a packet.
fn read(packet: &Packet) -> (u16, u32, usize) {
    let bytes = &packet.bytes;
    assert!(bytes[0] == 0x80 && matches!(bytes[1], 96 | 97));
    let timestamp = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
    (u16::from_be_bytes(bytes[2..4].try_into().unwrap()), timestamp, (bytes.len() - 12) / 2)
}

fn drain(line: &mut Timeline) -> Vec<(u16, u32, usize)> {
    std::iter::from_fn(|| line.poll()).map(|packet| read(&packet)).collect()
}

/// Time until `to`, in steps of the machine's own.
fn pass(line: &mut Timeline, to: u64) {
    while let Some(due) = line.due().filter(|due| *due <= at(to).mono) {
        let ms = (due.0 - at(0).mono.0).div_ceil(1_000_000);
        line.handle_timeout(at(ms));
    }
}

/// A stream that runs in time from 0 ms on, each frame at its end; what came of it is taken.
fn running(until: u64) -> Timeline {
    let mut line = Timeline::new(Format::Slin, 7);
    for ms in (20..=until).step_by(20) {
        pass(&mut line, ms);
        assert!(line.push(at(ms), &[1; FRAME]));
    }
    drain(&mut line);
    line
}

#[test]
fn samples_in_time_follow_each_other_in_network_order() {
    let mut line = Timeline::new(Format::Slin, 0x0102_0304);
    line.push(at(20), &[1, 2, 3, 4]);
    pass(&mut line, 100);
    let packet = line.poll().unwrap();
    assert_eq!(packet.bytes, [0x80, 96, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 2, 1, 4, 3]);
    let mut line = running(1_000);
    line.push(at(1_020), &[0; FRAME]);
    assert_eq!(drain(&mut line).last().map(|last| (last.1, last.2)), Some((8_000, 160)));
    assert_eq!(line.counts(), Counts::default());
}

#[test]
fn the_beginning_is_where_it_was_said_also_when_it_comes_as_a_burst() {
    let mut line = Timeline::new(Format::Slin, 7);
    for _ in 0..25 {
        line.push(at(500), &[1; FRAME]);
    }
    pass(&mut line, 560);
    let first = line.poll().unwrap();
    assert_eq!(first.at, at(0), "half a second came at once: it was said before");
    line.push(at(580), &[1; FRAME * 4]);
    assert_eq!(drain(&mut line).iter().map(|p| p.2).sum::<usize>() + (first.bytes.len() - 12) / 2, 4_640);
    assert_eq!(line.counts(), Counts::default());
}

#[test]
fn a_stall_that_is_made_up_costs_nothing() {
    let mut line = running(1_000);
    pass(&mut line, 1_900);
    for _ in 0..45 {
        line.push(at(1_900), &[1; FRAME]);
    }
    let all = drain(&mut line);
    assert_eq!(all.iter().map(|packet| packet.2).sum::<usize>(), 45 * 160);
    assert_eq!(all[0].1, 8_000, "it goes on where it stopped");
    assert_eq!(line.counts(), Counts::default());
}

#[test]
fn a_hole_that_is_not_made_up_is_a_gap_and_shifts_nothing() {
    let mut line = running(1_000);
    let sequence = line.sequence;
    pass(&mut line, 1_520);
    line.push(at(1_520), &[1; FRAME]);
    assert_eq!(drain(&mut line), [], "the rest of a burst may follow");
    pass(&mut line, 1_580);
    let all = drain(&mut line);
    assert_eq!((all[0].1, all[0].2), (12_000, 160), "said from 1,500 ms on");
    assert_eq!(
        (all[0].0, line.counts().lost),
        (sequence + 1, 4_000),
        "a sequence number is missing: it is lost, not silence"
    );
}

#[test]
fn a_long_stall_is_told_while_it_lasts_and_its_late_burst_does_not_stretch() {
    let mut line = running(1_000);
    pass(&mut line, 6_000);
    let told = drain(&mut line);
    let told_to = told.last().unwrap().1;
    assert!(told.len() >= 7 && told.iter().all(|packet| packet.2 == 1), "{told:?}");
    assert!((32_000..=40_000).contains(&told_to), "{told_to}");
    assert!(told.windows(2).all(|pair| pair[1].0 == pair[0].0 + 2), "each with a gap before it: {told:?}");
    for _ in 0..250 {
        line.push(at(6_000), &[1; FRAME]);
    }
    pass(&mut line, 6_100);
    let late = drain(&mut line);
    let (from, end) = (late[0].1, late.last().map(|last| last.1 as usize + last.2).unwrap());
    assert_eq!((from, end), (told_to + 1, 48_000), "its newest part, where it was said");
    assert_eq!(line.counts().surplus, 40_000 - u64::from(48_000 - from));
    let mut next = 6_120;
    while next < 8_000 {
        line.push(at(next), &[1; FRAME]);
        next += 20;
    }
    let end = drain(&mut line).last().map(|last| last.1).unwrap();
    assert!(end < 64_000 + 4_000, "{end}");
}

#[test]
fn a_sender_that_is_faster_than_time_is_held_to_it() {
    let mut line = running(200);
    for ms in (220..10_000).step_by(20) {
        line.push(at(ms), &[1; FRAME * 3]);
    }
    let end = drain(&mut line).last().map(|last| last.1).unwrap();
    assert!(end <= 80_000 + 4_000, "{end}");
    assert!(line.counts().surplus > 140_000);
    assert!(line.held.len() <= FRAME * 3);
}

#[test]
fn what_waits_is_bounded() {
    let mut line = running(200);
    pass(&mut line, 190_000);
    drain(&mut line);
    for _ in 0..10_000 {
        line.push(at(190_000), &[1; FRAME]);
        assert!(line.held.len() <= 2 * 16_000 + FRAME);
    }
}

#[test]
fn half_samples_are_refused_and_one_byte_samples_are_not() {
    assert!(!Timeline::new(Format::Slin, 7).push(at(0), &[1, 2, 3]));
    assert!(Timeline::new(Format::Slin, 7).push(at(0), &[]));
    let mut line = Timeline::new(Format::Ulaw, 7);
    assert!(line.push(at(20), &[9; 161]));
    line.finish(at(20));
    assert_eq!(line.poll().unwrap().bytes[12..], [9; 161]);
}

#[test]
fn sixteen_kilohertz_count_twice_and_long_sound_is_cut_into_packets() {
    let mut line = Timeline::new(Format::Slin16, 7);
    line.push(at(100), &[1; 3_200]);
    line.finish(at(100));
    assert_eq!(drain(&mut line), [(0, 0, 640), (1, 640, 640), (2, 1_280, 320)]);
    line.push(at(120), &[1; 640]);
    assert_eq!(drain(&mut line), [(3, 1_600, 320)]);
}

#[test]
fn sequence_and_timestamp_wrap() {
    let week = 7 * 24 * 3_600 * 1_000;
    let mut line = running(100);
    line.sequence = u16::MAX;
    line.next = u64::from(u32::MAX) - 79;
    line.origin = Some(Mono(at(week).mono.0 - (line.next * 125_000)));
    line.last = at(week).mono;
    line.push(at(week + 20), &[1; FRAME]);
    line.push(at(week + 40), &[1; FRAME]);
    assert_eq!(drain(&mut line), [(u16::MAX, u32::MAX - 79, 160), (0, 80, 160)]);
}
