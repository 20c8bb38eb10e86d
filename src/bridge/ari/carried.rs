//! What the taps' sound comes by: ports of RTP, connections that are expected from Asterisk, or made by us.

use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Done, Driver, Error};
use crate::bridge::asterisk_media::{self, Doors, Expected, Tap};
use crate::media::{Codec, OpenStream, Payload, Source};
use crate::pbx::asterisk::audiosocket::Patience;
use crate::pbx::asterisk::timeline::Format;
use crate::pbx::asterisk::{Carrier, Settings};
use crate::pbx::sip::keying::Path;
use crate::pbx::{PbxId, StreamId, Wanted};

/// Time without sound after which a connection that we made is given up.
const IDLE: Duration = Duration::from_secs(600);

/// Dropping it ends the connection.
pub(super) enum Carried {
    /// Asterisk connects, or did.
    Expected(#[expect(dead_code, reason = "held to be dropped")] Expected),
    /// We connect when Asterisk said where.
    Ours { stop: oneshot::Sender<()>, stopped: Option<oneshot::Receiver<()>> },
}

/// What the names of connections are made of; from the system's random numbers.
pub(super) fn secret() -> Uuid {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Uuid::from_bytes(bytes),
        Err(_) => Uuid::now_v7(),
    }
}

/// Whether the taps can be carried as the settings say.
pub(super) fn check(pbx: &PbxId, settings: &Settings, doors: &Doors) -> Result<(), Error> {
    let wrong = |key, found: String, expected| Err(Error::Setting { pbx: pbx.0.clone(), key, found, expected });
    if settings.format().is_none() {
        return wrong("media_rate", settings.media_rate.to_string(), "8000 or 16000");
    }
    match settings.media {
        Carrier::Audiosocket if doors.audiosocket.is_none() => {
            wrong("media", "audiosocket".into(), "[pbx.audiosocket] in the same [[pbx]], where Asterisk connects")
        }
        Carrier::Websocket if !settings.media_client.is_empty() && doors.websocket.is_none() => wrong(
            "media_client",
            settings.media_client.clone(),
            "[pbx.websocket] in the same [[pbx]], where Asterisk connects",
        ),
        _ => Ok(()),
    }
}

impl Driver {
    /// Opens a stream with a port of its own.
    pub(super) fn open_rtp(&self, stream: StreamId, wanted: Wanted) {
        let (media, done) = (self.media.clone(), self.done.clone());
        let payloads = vec![Payload { number: 0, codec: Codec::Pcmu }];
        let Wanted { record, transcribe } = wanted;
        // Asterisk tells where it sends from when it made its end; what comes before that waits.
        let open = OpenStream { stream, payloads, record, transcribe, source: Source::Untold, path: Path::default() };
        tokio::task::spawn_blocking(move || {
            let _ = done.blocking_send(Done::Opened(stream, media.open(open).map_err(|e| e.to_string())));
        });
    }

    /// Opens a stream that a connection feeds.
    pub(super) fn open_carried(&mut self, stream: StreamId, wanted: Wanted, name: &str) {
        let format = self.settings.format().unwrap_or(Format::Slin);
        let door = match self.settings.media {
            Carrier::Audiosocket => self.doors.audiosocket.clone(),
            Carrier::Rtp | Carrier::Websocket => self.doors.websocket.clone().map(|entrance| (0, entrance)),
        };
        let (port, carried) = match door.filter(|_| !name.is_empty()) {
            Some((port, entrance)) => (port, Carried::Expected(entrance.expect(name, self.tap(stream, format)))),
            None => {
                let (stop, stopped) = oneshot::channel();
                (0, Carried::Ours { stop, stopped: Some(stopped) })
            }
        };
        self.carried.insert(stream, carried);
        let (media, done) = (self.media.clone(), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let opened = asterisk_media::open(&media, stream, wanted, format).map(|()| port);
            let _ = done.blocking_send(Done::Opened(stream, opened));
        });
    }

    /// Asterisk said where its websocket of a tap is.
    pub(super) fn connect_media(&mut self, stream: StreamId, connection: &str) {
        let tap = self.tap(stream, self.settings.format().unwrap_or(Format::Slin));
        let stopped = match self.carried.get_mut(&stream) {
            Some(Carried::Ours { stop, stopped }) if !stop.is_closed() => stopped.take(),
            _ => None,
        };
        let Some(stopped) = stopped else { return };
        let patience = Patience { unknown: Duration::from_millis(self.settings.request_timeout_ms), idle: IDLE };
        match self.http.media_socket(connection) {
            Ok(place) => {
                tokio::spawn(asterisk_media::connect(place, self.media.clone(), patience, tap, stopped));
            }
            Err(reason) => (tap.ended)(reason),
        }
    }

    fn tap(&self, stream: StreamId, format: Format) -> Tap {
        let done = self.done.clone();
        let ended = Box::new(move |reason| {
            // the driver may be waiting for the hub
            tokio::spawn(async move { done.send(Done::Cut(stream, reason)).await });
        });
        Tap { stream, format, ended }
    }
}
