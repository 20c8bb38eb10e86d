//! A recording client of the laboratory: one SIPp that signals and an RTP sender for every stream; and what the bridge made of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{CallEnded, Data, Event, RecordedStream};
use kakehashi::media::segment::{read_range, scan};
use kakehashi::pbx::Speaker;

use crate::bridge::{Bridge, config, config_in, exported, wait_for};
use crate::lab::repository;
use crate::receiver::Receiver;
use crate::sound::{Comparison, compare, sent_as_ulaw, write_wav};

/// Where the bridge listens.
const PORT: u16 = 15_580;
/// Longest wait for a call with its document.
const CALL: Duration = Duration::from_secs(120);

/// What one person says: some utterances, one after the other.
pub(crate) struct Voice {
    pub(crate) samples: Vec<i16>,
    /// As it leaves the sender, with silence behind it.
    pub(crate) played: Vec<i16>,
}

/// The voice of number so much: four utterances that nobody else says.
pub(crate) fn voice(number: usize) -> Voice {
    let read = |utterance: usize| -> Vec<i16> {
        let path = repository().join(format!("samples/eval/utterances/{utterance:05}.wav"));
        hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
    };
    let samples = (4 * number..4 * number + 4).flat_map(read).collect::<Vec<i16>>();
    let played = sent_as_ulaw(&samples);
    Voice { samples, played }
}

/// One recording session that is to be played.
pub(crate) struct Session<'a> {
    pub(crate) file: &'a str,
    /// What is played on the streams, in the order of the scenario.
    pub(crate) voices: &'a [&'a Voice],
    /// How long each is sent, in seconds.
    pub(crate) seconds: u32,
    /// Value of From, without its tag.
    pub(crate) from: &'a str,
    /// Further placeholders of the scenario.
    pub(crate) values: &'a [(&'a str, &'a str)],
    /// First port: signalling, then the streams.
    pub(crate) port: u16,
    /// It begins once the contact of the one before is answered.
    pub(crate) second: bool,
    /// Other sessions record the same conversation: who comes later hears what is said by then.
    pub(crate) together: bool,
}

/// Ports that no session had before: a sender outlives its call, and with it the ports of its SIPp.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(29_000);
    NEXT.fetch_add(20, Ordering::Relaxed)
}

impl Default for Session<'_> {
    fn default() -> Self {
        Self {
            file: "",
            voices: &[],
            seconds: 8,
            from: "<sip:src@127.0.0.1>",
            values: &[],
            port: next_port(),
            second: false,
            together: false,
        }
    }
}

impl Session<'_> {
    /// The scenario with everything filled in.
    fn scenario(&self, folder: &Path) -> String {
        let of = |name: &str| std::fs::read_to_string(repository().join("tests/lab/sipp/siprec").join(name)).unwrap();
        let shared = of("parts.txt");
        let parts: Vec<(&str, &str)> = shared.split("== ").skip(1).filter_map(|part| part.split_once('\n')).collect();
        let part = |name: &str| parts.iter().find(|(own, _)| *own == name).unwrap().1.trim_end().to_string();
        let mut text = of(&format!("{}.xml", self.file));
        for (name, value) in self.values {
            text = text.replace(&format!("@{name}@"), value);
        }
        for name in ["OK0", "OK1", "OK2", "OK3", "HEAD", "NEW", "SDP"] {
            text = text.replace(&format!("@{name}@"), &part(name));
        }
        text = replaced(&text, "@ACK:", |cseq| part("ACK").replace("@CSEQ@", cseq));
        text = replaced(&text, "@BYE:", |cseq| part("BYE").replace("@CSEQ@", cseq));
        text = replaced(&text, "@XML:", |name| {
            std::fs::read_to_string(repository().join(format!("tests/data/siprec/{name}.xml"))).unwrap()
        });
        text = replaced(&text, "@PLAY:", |number| self.play(folder, number.parse().unwrap()));
        for number in 1..=4 {
            text = text.replace(&format!("@PORT{number}@"), &self.rtp(number).to_string());
        }
        text.replace("@FROM@", self.from)
    }

    fn rtp(&self, number: u16) -> u16 {
        self.port + 2 * number
    }

    /// The step that starts a stream to the port that the bridge answered.
    fn play(&self, folder: &Path, number: u16) -> String {
        let wav = folder.join(format!("{}-{number}.wav", self.port));
        write_wav(&wav, &self.voices[usize::from(number) - 1].samples);
        let program = repository().join("tests/lab/rtp.py");
        let (program, port, wav, seconds) = (program.display(), self.rtp(number), wav.display(), self.seconds);
        let begin = if self.together { format!(" {}/{number}.begin", folder.display()) } else { String::new() };
        format!(
            "  <nop><action><exec command=\"{program} {port} [$p{number}] {wav} {seconds}{begin}\" /></action></nop>"
        )
    }

    /// SIPp at work on it.
    fn start(&self, folder: &Path) -> Client {
        let own = folder.join(format!("sipp-{}", self.port));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("scenario.xml"), self.scenario(folder)).unwrap();
        let mut command = Command::new("sipp");
        let (port, bridge) = (self.port.to_string(), format!("127.0.0.1:{PORT}"));
        let arguments = [&bridge, "-sf", "scenario.xml", "-m", "1", "-nostdin", "-i", "127.0.0.1", "-p", &port];
        command.args(arguments).args([
            "-trace_err",
            "-error_file",
            "errors.txt",
            "-trace_msg",
            "-message_file",
            "messages.txt",
        ]);
        let screen = std::fs::File::create(own.join("screen.txt")).unwrap();
        let process = command.current_dir(&own).stdin(Stdio::null()).stdout(screen).stderr(Stdio::null()).spawn();
        Client { process: process.expect("sipp is installed: tests/lab/setup.sh"), folder: own }
    }
}

/// Replaces `@NAME:value@` by what `with` makes of the value.
fn replaced(text: &str, begin: &str, with: impl Fn(&str) -> String) -> String {
    let mut pieces = text.split(begin);
    let mut out = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let (value, rest) = piece.split_once('@').expect("a placeholder ends with @");
        out += &with(value);
        out += rest;
    }
    out
}

struct Client {
    process: Child,
    folder: PathBuf,
}

impl Client {
    fn finished(&mut self) {
        let status = self.process.wait().unwrap();
        let file = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        assert!(status.success(), "sipp: {status}\n{}\n{}", file("errors.txt"), file("messages.txt"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is left of one contact.
pub(crate) struct Left {
    pub(crate) contact: ContactId,
    pub(crate) events: Vec<Event>,
    pub(crate) log: String,
    folder: PathBuf,
}

/// The bridge's configuration, without an Asterisk to watch and on ports of its own.
fn settings(folder: &Path, hook: &str) -> String {
    let text = config(folder, hook);
    let (before, rest) = text.split_once("[pbx.ari]").unwrap();
    let (_, after) = rest.split_once("[pbx.sip]").unwrap();
    let own = format!("[sip]\nenabled = true\nlisten_udp = [\"127.0.0.1:{PORT}\"]\nlisten_tcp = []\n");
    let after = after.replace("[sip]\nenabled = true\n", &own).replace("27000", "28000").replace("27199", "28199");
    format!("{before}[pbx.sip]{after}")
}

/// Plays recording sessions, all at once, to a bridge of its own; gives what is left of each contact once its document is complete.
pub(crate) fn record(folder: &Path, sessions: &[Session<'_>], contacts: usize) -> Vec<Left> {
    let receiver = Receiver::start(folder, &[]);
    std::fs::write(config_in(folder), settings(folder, &receiver.url)).unwrap();
    let bridge = Bridge::again(folder);
    let read = || -> Vec<Event> {
        let lines = receiver.accepted();
        lines.iter().map(|line| Event::from_json(&line["event"].to_string()).unwrap()).collect()
    };
    let answered = || read().iter().any(|event| matches!(event.data, Data::CallAnswered(_))).then_some(());
    let start = |session: &Session<'_>| {
        if session.second {
            wait_for("the first recorder's call is answered", CALL, answered);
        }
        session.start(folder)
    };
    let mut clients: Vec<Client> = sessions.iter().map(start).collect();
    clients.iter_mut().for_each(Client::finished);
    let documents = || {
        let events = read();
        let complete =
            events.iter().filter(|event| matches!(&event.data, Data::TranscriptDocument(all) if all.complete));
        let found: Vec<ContactId> = complete.map(|event| event.contact).collect();
        (found.len() >= contacts).then_some(found)
    };
    let mut found = wait_for("the document of every contact is complete", CALL, documents);
    let log = bridge.log();
    bridge.stop();
    let events = read();
    found.dedup();
    let foreign: Vec<&Event> = events.iter().filter(|event| !found.contains(&event.contact)).collect();
    assert!(foreign.is_empty(), "more contacts than calls: {foreign:?}");
    assert_eq!(found.len(), contacts);
    let left = |contact: &ContactId| Left {
        contact: *contact,
        events: events.iter().filter(|event| event.contact == *contact).cloned().collect(),
        log: log.clone(),
        folder: folder.into(),
    };
    found.iter().map(left).collect()
}

impl Left {
    /// Extension of every leg, in order of appearance.
    pub(crate) fn legs(&self) -> Vec<String> {
        self.ended().legs.iter().map(|leg| leg.agent.extension.clone()).collect()
    }

    /// The end of the whole contact.
    pub(crate) fn ended(&self) -> &CallEnded {
        let ends = self.events.iter().filter(|event| event.leg.is_none()).filter_map(|event| match &event.data {
            Data::CallEnded(end) => Some(end),
            _ => None,
        });
        let ends: Vec<&CallEnded> = ends.collect();
        assert_eq!(ends.len(), 1, "a contact ends once");
        ends[0]
    }

    /// Types of the events about the call, in order.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        let record = self
            .events
            .iter()
            .filter(|event| event.sequence.is_some())
            .map(|event| event.type_name().trim_start_matches("kakehashi.").trim_end_matches(".v1"));
        record.filter(|kind| !kind.starts_with("transcript.")).collect()
    }

    pub(crate) fn streams(&self) -> Vec<RecordedStream> {
        let recording = self.events.iter().find_map(|event| match &event.data {
            Data::RecordingAvailable(recording) => Some(recording.streams.clone()),
            _ => None,
        });
        recording.expect("the call was recorded")
    }

    /// The stream that one speaker (on a leg of this extension) was heard on.
    pub(crate) fn stream(&self, speaker: Speaker, extension: &str) -> Result<RecordedStream, String> {
        let leg = self.ended().legs.iter().find(|leg| leg.agent.extension == extension).map(|leg| leg.leg);
        let own = |stream: &RecordedStream| stream.speaker == speaker && Some(stream.leg) == leg && !stream.spare;
        let streams = self.streams();
        let found = streams.iter().find(|stream| own(stream)).cloned();
        found.ok_or_else(|| format!("nobody is {speaker:?} on {extension}: {streams:?}"))
    }

    /// What is on disk of a stream, at 8 kHz.
    pub(crate) fn sound(&self, stream: &RecordedStream) -> Vec<i16> {
        let audio = self.folder.join("data/audio");
        let extent = scan(&audio, stream.stream).unwrap().expect("the stream is on disk");
        read_range(&audio, stream.stream, 0, extent.samples).unwrap()
    }

    /// Left (caller) and right (agent) of `kakehashi export`.
    pub(crate) fn exported(&self) -> [Vec<i16>; 2] {
        exported(&self.folder, &self.contact.to_string())
    }

    /// One speaker is heard as played, whole and undamaged.
    pub(crate) fn says(&self, speaker: Speaker, extension: &str, voice: &Voice) -> Result<Comparison, String> {
        let stream = self.stream(speaker, extension)?;
        let found = compare(&self.sound(&stream), &voice.played);
        let found = found.ok_or_else(|| {
            let sound = self.sound(&stream);
            let loud = sound.iter().filter(|sample| sample.abs() > 500).count();
            format!("{speaker:?} on {extension} says something else: {} samples, {loud} loud", sound.len())
        })?;
        let whole = found.damaged + found.dropped == 0 && found.exact > 150 && found.missed <= 4_000;
        if whole { Ok(found) } else { Err(format!("{speaker:?} on {extension}: {found:?}")) }
    }
}
