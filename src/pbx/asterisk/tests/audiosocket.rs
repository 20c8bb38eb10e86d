//! AudioSocket in virtual time.

use super::*;
use crate::time::Wall;

const PATIENCE: Patience = Patience { unknown: Duration::from_millis(2_000), idle: Duration::from_millis(5_000) };
const ID: Uuid = Uuid::from_u128(0x40325ec2_5efd_4bd3_805f_53576e581d13);

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_795_424_000_000_000 + ms as i64 * 1_000) }
}

fn bytes(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn identity() -> Vec<u8> {
    bytes(0x01, ID.as_bytes())
}

/// A connection with what it wanted done.
struct Seen {
    connection: Connection,
    sent: Vec<Vec<u8>>,
    sound: Vec<Packet>,
    digits: String,
    identified: Vec<Uuid>,
    ended: Option<Ended>,
    admits: bool,
}

impl Seen {
    fn new(plain: Format) -> Seen {
        let connection = Connection::new(at(0), plain, PATIENCE);
        let (sent, sound, identified) = (Vec::new(), Vec::new(), Vec::new());
        Seen { connection, sent, sound, digits: String::new(), identified, ended: None, admits: true }
    }

    fn drain(&mut self) {
        while let Some(output) = self.connection.poll_output() {
            assert_eq!(self.ended, None, "nothing follows the end");
            match output {
                Output::Send(bytes) => self.sent.push(bytes),
                Output::Identified(id) => {
                    self.identified.push(id);
                    if self.admits {
                        self.connection.admit(Format::Slin, 7);
                    }
                }
                Output::Sound(packet) => self.sound.push(packet),
                Output::Digit(digit) => self.digits.push(digit),
                Output::Ended(why) => self.ended = Some(why),
            }
        }
    }

    fn bytes(&mut self, ms: u64, bytes: &[u8]) {
        self.connection.handle_bytes(at(ms), bytes);
        self.drain();
    }

    fn pass(&mut self, to: u64) {
        while let Some(due) = self.connection.due().filter(|due| *due <= at(to).mono) {
            self.connection.handle_timeout(at(due.0.div_ceil(1_000_000)));
            self.drain();
        }
    }

    fn samples(&self) -> usize {
        self.sound.iter().map(|packet| (packet.bytes.len() - 12) / 2).sum()
    }
}

#[test]
fn silence_goes_out_from_the_first_moment_every_20_ms_whatever_comes() {
    let mut seen = Seen::new(Format::Slin);
    seen.pass(0);
    assert_eq!(seen.sent, [silence(Format::Slin)], "before anything came");
    seen.pass(1_000);
    assert_eq!(seen.sent.len(), 51);
    seen.bytes(1_000, &identity());
    seen.pass(1_500);
    assert_eq!(seen.sent.len(), 76);
    let frame = &seen.sent[75];
    assert_eq!((frame.len(), &frame[..3]), (323, &[0x10, 1, 0x40][..]));
    assert_eq!(silence(Format::Slin16)[..3], [0x12, 2, 0x80]);
}

#[test]
fn silence_is_of_the_rate_that_comes_and_never_a_burst() {
    let mut seen = Seen::new(Format::Slin);
    seen.bytes(0, &identity());
    seen.bytes(20, &bytes(0x12, &[0; 640]));
    seen.pass(40);
    assert_eq!(seen.sent.last().unwrap()[0], 0x12);
    let before = seen.sent.len();
    seen.connection.handle_timeout(at(900));
    seen.drain();
    assert_eq!(seen.sent.len(), before + 1, "what was missed is not made up");
}

#[test]
fn a_connection_says_whose_it_is_and_its_sound_follows() {
    let mut seen = Seen::new(Format::Slin);
    let mut all = identity();
    all.extend(bytes(0x10, &[1; 320]));
    all.extend(bytes(0x03, b"5"));
    all.extend(bytes(0x03, b"#"));
    for byte in &all {
        seen.bytes(5, &[*byte]);
    }
    seen.pass(100);
    assert_eq!((seen.identified.as_slice(), seen.digits.as_str(), seen.samples()), (&[ID][..], "5#", 160));
    seen.bytes(100, &bytes(0x00, &[]));
    assert_eq!(seen.ended, Some(Ended::Hangup));
    assert_eq!(seen.ended.unwrap().cause(), EndCause::Normal);
}

#[test]
fn nothing_is_read_before_it_is_decided_who_it_is() {
    let mut seen = Seen::new(Format::Slin);
    seen.admits = false;
    let mut all = identity();
    all.extend(bytes(0x10, &[1; 320]));
    seen.bytes(0, &all);
    seen.pass(100);
    assert_eq!(seen.samples(), 0);
    seen.connection.admit(Format::Slin, 7);
    seen.drain();
    seen.pass(200);
    assert_eq!(seen.samples(), 160, "it waited");
}

#[test]
fn who_does_not_say_whose_it_is_in_time_is_dropped() {
    let mut seen = Seen::new(Format::Slin);
    for ms in (0..1_990).step_by(200) {
        seen.pass(ms);
        seen.bytes(ms, &[1][..usize::from(ms == 0)]);
    }
    seen.pass(2_000);
    assert_eq!(seen.ended, Some(Ended::Unknown), "a trickle of bytes keeps nothing open");
    assert_eq!(seen.connection.due(), None);
}

#[test]
fn a_connection_without_frames_is_given_up() {
    let mut seen = Seen::new(Format::Slin);
    seen.bytes(100, &identity());
    seen.pass(5_099);
    assert_eq!(seen.ended, None);
    seen.pass(5_100);
    assert_eq!(seen.ended, Some(Ended::Idle));
}

#[test]
fn type_0x10_is_what_was_configured_and_other_types_say_their_rate() {
    let mut wide = Seen::new(Format::Slin16);
    wide.admits = false;
    wide.bytes(0, &identity());
    wide.connection.admit(Format::Slin16, 7);
    wide.bytes(20, &bytes(0x10, &[1; 640]));
    wide.bytes(40, &bytes(0x10, &[1; 640]));
    wide.pass(100);
    assert_eq!((wide.samples(), wide.ended), (640, None));
    let stamp = u32::from_be_bytes(wide.sound.last().unwrap().bytes[4..8].try_into().unwrap());
    assert!(stamp <= 320, "an older Asterisk labels every rate 0x10");
    let mut fast = Seen::new(Format::Slin);
    fast.bytes(0, &identity());
    fast.bytes(20, &bytes(0x16, &[0; 1_920]));
    assert_eq!(fast.ended, Some(Ended::Rate(48_000)));
    let mut both = Seen::new(Format::Slin);
    both.bytes(0, &identity());
    both.bytes(20, &bytes(0x10, &[0; 320]));
    both.bytes(40, &bytes(0x12, &[0; 640]));
    assert_eq!(both.ended, Some(Ended::Malformed("another rate than before")));
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    for (first, wanted) in [
        (bytes(0x01, &[0; 15]), "a frame of a wrong length"),
        (bytes(0x10, &[0; 320]), "the first frame is not the UUID"),
        (vec![0x10, 0xff, 0xff], "a frame that is too long"),
        ([identity(), identity()].concat(), "a second UUID"),
        ([identity(), bytes(0x03, b"x")].concat(), "a digit that is none"),
        ([identity(), bytes(0x03, b"12")].concat(), "a frame of a wrong length"),
        ([identity(), bytes(0x10, &[0; 321])].concat(), "half a sample"),
        ([identity(), bytes(0x44, b"?").repeat(101)].concat(), "many frames of unknown types"),
    ] {
        let mut seen = Seen::new(Format::Slin);
        seen.bytes(0, &first);
        assert_eq!(seen.ended, Some(Ended::Malformed(wanted)), "{first:?}");
        assert_eq!(seen.ended.unwrap().cause(), EndCause::Failed);
    }
    let mut tolerant = Seen::new(Format::Slin);
    tolerant.bytes(0, &[identity(), bytes(0x44, b"?").repeat(100), bytes(0x10, &[])].concat());
    assert_eq!(tolerant.ended, None);
}

#[test]
fn an_error_of_asterisk_and_a_lost_connection_are_failures_and_a_closed_one_is_a_hang_up() {
    let mut failed = Seen::new(Format::Slin);
    failed.bytes(0, &[identity(), bytes(0xff, &[2])].concat());
    assert_eq!(failed.ended, Some(Ended::Failed(2)));
    for (left, lost, wanted) in
        [(&[][..], true, Ended::Lost), (&[], false, Ended::Hangup), (&[0x10, 1], false, Ended::Lost)]
    {
        let mut seen = Seen::new(Format::Slin);
        seen.bytes(0, &identity());
        seen.bytes(10, left);
        seen.connection.handle_closed(at(20), lost);
        seen.drain();
        assert_eq!(seen.ended, Some(wanted));
    }
}

#[test]
fn sound_that_waits_at_the_end_is_still_handed_on() {
    let mut seen = Seen::new(Format::Slin);
    seen.bytes(0, &[identity(), bytes(0x10, &[1; 320])].concat());
    assert_eq!(seen.samples(), 0, "the beginning waits for the rest of a burst");
    seen.connection.stop(at(10), Ended::Slow);
    seen.drain();
    assert_eq!((seen.samples(), seen.ended), (160, Some(Ended::Slow)));
    assert_eq!(seen.sent.last().unwrap(), &HANGUP);
    assert!(Ended::Slow.reason().contains("did not read"));
}

#[test]
fn the_reader_holds_one_frame_and_no_more() {
    let mut reader = Reader::default();
    for _ in 0..10_000 {
        reader.push(&bytes(0x10, &[0; PAYLOAD_MAX]));
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Sound(8_000, _)))));
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.bytes.len() <= 2 * (PAYLOAD_MAX + HEADER));
    }
}
