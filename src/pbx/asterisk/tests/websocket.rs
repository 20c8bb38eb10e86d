//! chan_websocket's media connections in virtual time.

use super::*;
use crate::pbx::asterisk::audiosocket::Patience;
use crate::time::Wall;
use std::time::Duration;

const PATIENCE: Patience = Patience { unknown: Duration::from_millis(2_000), idle: Duration::from_millis(5_000) };
const PLAIN: &str = "MEDIA_START connection_id:kakehashi channel:WebSocket/kakehashi/0x7f01 channel_id:lab-1.7 format:slin16 \
                     optimal_frame_size:640 ptime:20";
const JSON: &str = r#"{"event":"MEDIA_START","connection_id":"kakehashi","channel":"WebSocket/kakehashi/0x7f01","channel_id":"lab-1.7",
    "format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{"KAKEHASHI_CALLED":"7001","n":7}}"#;

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_795_424_000_000_000 + ms as i64 * 1_000) }
}

fn drain(connection: &mut Connection) -> Vec<Output> {
    std::iter::from_fn(|| connection.poll_output()).collect()
}

fn samples(outputs: &[Output]) -> usize {
    let length = |output: &Output| match output {
        Output::Sound(packet) => (packet.bytes.len() - 12) / 2,
        _ => 0,
    };
    outputs.iter().map(length).sum()
}

fn started(text: &str) -> Connection {
    let mut connection = Connection::new(at(0), PATIENCE);
    connection.handle_text(at(0), text);
    assert!(matches!(drain(&mut connection).as_slice(), [Output::Identified(_)]));
    connection.admit(7);
    connection
}

#[test]
fn plain_and_json_say_the_same() {
    let Some(Control::Start(plain)) = Control::parse(PLAIN) else { panic!() };
    let Some(Control::Start(mut json)) = Control::parse(JSON) else { panic!() };
    assert_eq!(std::mem::take(&mut json.variables), [("KAKEHASHI_CALLED".to_string(), "7001".to_string())].into());
    assert_eq!(plain, json);
    assert_eq!((plain.channel_id.as_str(), plain.format.as_str()), ("lab-1.7", "slin16"));
    for (text, wanted) in [
        ("DTMF_END digit:5 channel_id:lab-1.7", Some(Control::Digit('5'))),
        (r#"{"event":"DTMF_END","channel_id":"x","digit":"a"}"#, Some(Control::Digit('A'))),
        ("DTMF_END digit:x", None),
        ("MEDIA_XOFF", Some(Control::Xoff)),
        (r#"{"event":"MEDIA_XON"}"#, Some(Control::Xon)),
        ("STATUS channel_id:x queue_length:3", Some(Control::Other)),
        ("ERROR channel_id:x error_text:no", Some(Control::Error)),
        ("QUEUE_DRAINED", Some(Control::Other)),
        ("media_start format:slin", None),
        ("", None),
        ("{", None),
        (r#"{"event":7}"#, None),
    ] {
        assert_eq!(Control::parse(text), wanted, "{text}");
    }
    assert_eq!(Control::parse(&format!("MEDIA_XOFF {}", " ".repeat(TEXT_MAX))), None);
}

#[test]
fn our_commands_are_short_enough_for_asterisk() {
    for command in [Command::Answer, Command::Hangup, Command::GetStatus] {
        assert!(command.text(false).len() <= COMMAND_MAX && command.text(true).len() <= COMMAND_MAX);
    }
    assert_eq!(Command::Hangup.text(true), r#"{"command":"HANGUP"}"#);
}

#[test]
fn sound_before_its_start_waits_for_it_and_is_bounded() {
    let mut connection = Connection::new(at(0), PATIENCE);
    connection.handle_binary(at(20), &[1; 640]);
    connection.handle_binary(at(40), &[1; 640]);
    assert_eq!(drain(&mut connection), []);
    connection.handle_text(at(45), PLAIN);
    assert!(matches!(drain(&mut connection).as_slice(), [Output::Identified(_)]));
    connection.handle_binary(at(60), &[1; 640]);
    connection.admit(7);
    connection.handle_timeout(at(120));
    assert_eq!(samples(&drain(&mut connection)), 960);
    let mut flood = Connection::new(at(0), PATIENCE);
    for _ in 0..10_000 {
        flood.handle_binary(at(1), &[0; 1_000]);
        flood.handle_binary(at(1), &[]);
        assert!(flood.early_bytes <= EARLY_MAX && flood.early.len() <= EARLY_MESSAGES);
    }
}

#[test]
fn a_connection_without_a_start_or_without_sound_is_given_up() {
    let mut unknown = Connection::new(at(0), PATIENCE);
    unknown.handle_binary(at(1_990), &[0; 640]);
    assert_eq!(unknown.due(), Some(at(2_000).mono));
    unknown.handle_timeout(at(2_000));
    assert_eq!(drain(&mut unknown), [Output::Ended(Ended::Unknown)]);
    let mut idle = started(PLAIN);
    idle.handle_timeout(at(5_000));
    assert_eq!(drain(&mut idle), [Output::Ended(Ended::Idle)]);
    assert_eq!(idle.due(), None);
}

#[test]
fn digits_flow_control_and_the_end() {
    let mut connection = started(JSON);
    assert_eq!(connection.format(), Some(Format::Slin16));
    connection.handle_text(at(10), r#"{"event":"DTMF_END","digit":"7"}"#);
    assert_eq!(drain(&mut connection), [Output::Digit('7')]);
    connection.handle_text(at(11), "MEDIA_XOFF");
    assert!(connection.is_stopped());
    connection.handle_text(at(12), "MEDIA_XON");
    assert!(!connection.is_stopped());
    connection.stop(at(20), Ended::Stopped);
    let end = drain(&mut connection);
    assert_eq!(end, [Output::Send(r#"{"command":"HANGUP"}"#.into()), Output::Ended(Ended::Stopped)]);
    connection.handle_binary(at(30), &[0; 640]);
    connection.handle_closed(at(31), true);
    assert_eq!(drain(&mut connection), [], "nothing follows the end");
}

#[test]
fn a_closed_connection_is_a_hang_up_and_a_lost_one_a_failure() {
    for (lost, wanted) in [(false, Ended::Hangup), (true, Ended::Lost)] {
        let mut connection = started(PLAIN);
        connection.handle_binary(at(20), &[1; 640]);
        connection.handle_closed(at(30), lost);
        let outputs = drain(&mut connection);
        assert_eq!((samples(&outputs), outputs.last()), (320, Some(&Output::Ended(wanted))));
    }
}

#[test]
fn codecs_of_telephones_are_taken_and_others_say_what_is_expected() {
    let mut connection = started(&PLAIN.replace("slin16", "ulaw"));
    connection.handle_binary(at(20), &[0x55; 160]);
    connection.handle_closed(at(30), false);
    let outputs = drain(&mut connection);
    assert!(matches!(&outputs[0], Output::Sound(packet) if packet.bytes[12..] == [0x55; 160]));
    let mut other = Connection::new(at(0), PATIENCE);
    other.handle_text(at(0), &PLAIN.replace("slin16", "opus"));
    let [Output::Ended(why)] = drain(&mut other)[..] else { panic!() };
    assert!(why.reason().contains("expected slin"), "{}", why.reason());
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let mut twice = started(PLAIN);
    twice.handle_text(at(1), PLAIN);
    assert_eq!(drain(&mut twice), [Output::Ended(Ended::Malformed("a second MEDIA_START"))]);
    let mut half = started(PLAIN);
    half.handle_binary(at(1), &[0; 641]);
    assert_eq!(drain(&mut half), [Output::Ended(Ended::Malformed("half a sample"))]);
    let mut strange = started(PLAIN);
    for _ in 0..100 {
        strange.handle_text(at(1), "WHAT");
    }
    assert_eq!(drain(&mut strange), []);
    strange.handle_text(at(1), "WHAT");
    assert!(matches!(drain(&mut strange)[..], [Output::Ended(Ended::Malformed(_))]));
}
