//! Calls through a real Asterisk as a mirror shows them: a capture of a call that ARI observes gives the same contact, and the interface gives
//! it while the call lasts.

#[allow(dead_code, reason = "what other tests of the laboratory need")]
#[path = "call_lab/bridge.rs"]
mod bridge;
#[allow(dead_code, reason = "what other tests of the laboratory need")]
#[path = "call_lab/judge.rs"]
mod judge;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/privacy.rs"]
mod privacy;
#[path = "common/receiver.rs"]
mod receiver;
#[allow(dead_code, reason = "what other tests of the laboratory need")]
#[path = "common/sound.rs"]
mod sound;
#[allow(dead_code, reason = "what other tests of the laboratory need")]
#[path = "call_lab/text.rs"]
mod text;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kakehashi::events::{CallEnded, Data};
use kakehashi::pbx::Speaker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use bridge::{Bridge, config, config_in, wait_for};
use judge::{Evidence, check, complete_document, gap_free, gather, received, sum};
use lab::{Lab, finished, lab, scenario};
use privacy::CALLER;
use receiver::Receiver;
use sound::{compare, played};
use text::{error_rate, said_by};

/// How long a whole call with its document may take; only a failing test waits that long.
const CALL: Duration = Duration::from_secs(240);
/// How far a text may be from that of the same call by ARI. The sound is the same but for what Asterisk's snoop leaves out or puts in (20 ms now
/// and then on a starved machine, and where it begins), so that utterances may be cut at another frame and a character differ.
const SAME_TEXT: f64 = 0.06;

/// `dumpcap` on loopback, as an integrator takes a capture.
struct Dump(Child);

impl Dump {
    fn start(file: &Path) -> Dump {
        let mut command = Command::new("dumpcap");
        command.args(["-i", "lo", "-f", "udp", "-B", "64", "-w"]).arg(file);
        let mut process =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("tests/lab/setup.sh installs it");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        // it says so when the file is there
        assert!(lines.any(|line| line.starts_with("File:")), "dumpcap does not capture");
        std::thread::spawn(move || lines.for_each(drop));
        Dump(process)
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT).unwrap();
        assert!(self.0.wait().unwrap().success(), "dumpcap ended in order");
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The configuration of a bridge that sees the laboratory's exchange by its mirror only.
fn mirrored(folder: &Path, hook: &str, from: &str) -> String {
    let whole = config(folder, hook);
    let (before, rest) = whole.split_once("[pbx.ari]").unwrap();
    let (_, after) = rest.split_once("[[line]]").unwrap();
    let mirror = format!("[pbx.mirror]\n{from}\nnetworks = [\"127.0.0.1:15060\"]\nsip_ports = [15060]\n");
    format!("{before}{mirror}[[line]]{after}").replace("[sip]\nenabled = true", "[sip]\nenabled = false")
}

/// Lets one call happen before a bridge with this configuration, and takes what is left of it.
fn play(folder: &Path, config: impl FnOnce(&str) -> String, call: impl FnOnce() -> Option<Lab>) -> Evidence {
    let receiver = Receiver::start(folder, &[]);
    std::fs::write(config_in(folder), config(&receiver.url)).unwrap();
    let bridge = Bridge::again(folder);
    let call = call();
    let contact = wait_for("the document of the call is complete", CALL, || {
        let events = received(&receiver.accepted());
        let contacts = events.iter().map(|received| received.event.contact).collect::<Vec<_>>();
        contacts.into_iter().find(|contact| complete_document(&events, *contact).is_some())
    });
    if let Some(call) = call {
        finished(call);
    }
    gather(folder, bridge, &receiver, contact)
}

/// The end of the contact.
fn ended(call: &Evidence) -> CallEnded {
    let mut ends = call.events.iter().filter_map(|received| match &received.event.data {
        Data::CallEnded(end) if received.event.leg.is_none() => Some(end.clone()),
        _ => None,
    });
    ends.next().expect("the contact ended")
}

/// What each party says is what that party said, and not what the other one said.
fn right_speakers(text: impl Fn(Speaker) -> String) -> Result<(), String> {
    for (speaker, other) in [(Speaker::Caller, Speaker::Agent), (Speaker::Agent, Speaker::Caller)] {
        let heard = text(speaker);
        let own = error_rate(&said_by(speaker, f64::INFINITY), &heard);
        let others = error_rate(&said_by(other, f64::INFINITY), &heard);
        println!("{speaker:?}: error rate {own:.3}, against the other party's text {others:.3}");
        if own >= judge::MODEL_MEETS || others <= judge::OTHER_IS_FAR {
            return Err(format!("{speaker:?}: {own:.2}, against the other party {others:.2}"));
        }
    }
    Ok(())
}

/// The sound on disk is what the telephones played, frame by frame.
fn exact_sound(call: &Evidence, may_drop: usize) {
    for (channel, heard) in call.sound.iter().enumerate() {
        let compared = compare(heard, &played(channel)).expect("what was played there");
        println!("channel {channel}: {compared:?}");
        assert!(compared.damaged == 0 && compared.exact >= 45 * 50 - may_drop, "channel {channel}: {compared:?}");
        assert!(compared.dropped <= may_drop && compared.inserted <= may_drop, "channel {channel}: {compared:?}");
    }
}

fn sums_are_right(call: &Evidence) {
    let leg = ended(call).legs.last().cloned().expect("a leg");
    let duration = leg.ended.unwrap().since(leg.answered.unwrap()).as_millis() as i64;
    let coverage = call.document().coverage;
    assert_eq!(coverage.iter().map(|one| one.speaker).collect::<Vec<_>>(), [Speaker::Caller, Speaker::Agent]);
    for one in &coverage {
        let c = &one.coverage;
        println!("{:?}: {c:?}", one.speaker);
        assert!(sum(c) == c.duration && (c.duration as i64 - duration).abs() <= 1, "{duration} ms: {c:?}");
        assert_eq!(c.lost + c.failed + c.pending + c.paused + c.excluded, 0, "{c:?}");
        assert!(c.unobserved < 1_500 && c.transcribed > 10_000, "{c:?}");
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_capture_of_a_call_gives_what_ari_gave() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let capture: PathBuf = folders[0].path().join("call.pcapng");
    let dump = Dump::start(&capture);
    let who = format!("{CALLER}@127.0.0.1");
    let folder = folders[0].path();
    let ari = play(folder, |hook| config(folder, hook), || Some(lab(&["call", "6001", "--who", &who])));
    dump.stop();
    check(&ari).unwrap();
    let folder = folders[1].path();
    let from = format!("file = \"{}\"", capture.display());
    let mirror = play(folder, |hook| mirrored(folder, hook, &from), || None);
    gap_free(&mirror.events).unwrap();

    // the same steps, but for the queue, which no packet shows
    let steps: Vec<&str> = ari.kinds().into_iter().filter(|kind| *kind != "call.queued").collect();
    assert_eq!(mirror.kinds(), steps);
    // the same parties, line and reasons, at the times of the call and not of the playing
    let (theirs, own) = (ended(&ari), ended(&mirror));
    assert_eq!((&own.caller, &own.called, own.reason), (&theirs.caller, &theirs.called, theirs.reason));
    assert_eq!((own.legs.len(), theirs.legs.len()), (1, 1));
    let (leg, other) = (&own.legs[0], &theirs.legs[0]);
    assert_eq!((&leg.agent, leg.tier, leg.reason), (&other.agent, other.tier, other.reason));
    assert_eq!(leg.agent.id.as_deref(), Some("op-yamada"));
    for (one, two) in [(leg.answered, other.answered), (leg.ended, other.ended), (leg.ringing, other.ringing)] {
        let apart = one.unwrap().0.abs_diff(two.unwrap().0);
        println!("{} ms apart", apart / 1_000);
        assert!(apart < 500_000, "{apart} µs apart");
    }
    // the same ledger
    sums_are_right(&mirror);
    for (one, two) in mirror.document().coverage.iter().zip(&ari.document().coverage) {
        let (one, two) = (&one.coverage, &two.coverage);
        assert!(one.duration.abs_diff(two.duration) < 500, "{one:?} {two:?}");
        assert!(one.transcribed.abs_diff(two.transcribed) < 3_000, "{one:?} {two:?}");
        assert!(one.unobserved <= two.unobserved, "{one:?} {two:?}");
    }
    // the same text by the same speaker
    right_speakers(|speaker| mirror.text(speaker)).unwrap();
    for speaker in [Speaker::Caller, Speaker::Agent] {
        let (theirs, own) = (ari.text(speaker), mirror.text(speaker));
        let apart = error_rate(&theirs, &own);
        println!(
            "{speaker:?}: {apart:.3} from ARI's text{}",
            if theirs == own { ", the same to the byte" } else { "" }
        );
        assert!(apart <= SAME_TEXT, "{speaker:?}: ARI {theirs}, mirror {own}");
    }
    exact_sound(&mirror, 0);
    // and this would have been seen if the channels were swapped
    let swapped = |speaker| mirror.text(if speaker == Speaker::Caller { Speaker::Agent } else { Speaker::Caller });
    right_speakers(swapped).unwrap_err();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_interface_gives_pop_text_sound_and_ledger_during_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let who = format!("{CALLER}@127.0.0.1");
    let from = "interface = \"lo\"";
    let call = play(folder, |hook| mirrored(folder, hook, from), || Some(lab(&["call", "6001", "--who", &who])));
    // everything that ARI gives, but for the queue
    let problems = check(&call).err().unwrap_or_default();
    println!("{problems}");
    assert!(
        problems.lines().all(|problem| problem.starts_with("events: [")
            && !problem.split(" instead of ").next().unwrap().contains("queued")),
        "{problems}"
    );
    assert_eq!(call.kinds().first(), Some(&"call.offered"));
    sums_are_right(&call);
    exact_sound(&call, 0);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_whose_sound_goes_directly_from_telephone_to_telephone_is_heard_by_its_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let capture = folder.join("call.pcapng");
    let dump = Dump::start(&capture);
    let call =
        play(folder, |hook| mirrored(folder, hook, "interface = \"lo\""), || Some(scenario("direct_media", 47.0)));
    dump.stop();
    assert!(direct_packets(&capture) > 4_000, "the sound did not go directly");
    gap_free(&call.events).unwrap();
    let end = ended(&call);
    assert_eq!((end.caller.raw.as_deref(), end.called.as_str()), (Some("1004"), "2003"));
    assert_eq!(end.legs.iter().map(|leg| leg.agent.extension.as_str()).collect::<Vec<_>>(), ["2003"]);
    right_speakers(|speaker| call.text(speaker)).unwrap();
    sums_are_right(&call);
    // Python's telephones may be late by a packet when the way changes
    exact_sound(&call, 3);
}

/// UDP packets between ports that are neither the exchange's for sound nor anybody's for SIP.
fn direct_packets(capture: &Path) -> usize {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-e", "udp.srcport", "-e", "udp.dstport", "-r"]).arg(capture);
    let output = command.output().expect("tests/lab/setup.sh installs it");
    let text = String::from_utf8(output.stdout).unwrap();
    let away = |port: &str| port.parse::<u32>().is_ok_and(|port| port > 30_000 || (port > 15_500 && port < 21_000));
    text.lines().filter(|line| line.split('\t').all(away)).count()
}
