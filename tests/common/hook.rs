//! A receiver of webhooks on a port of its own: keeps what it verified, and may be away for a while.
#![allow(dead_code)] // each test binary uses its part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use kakehashi::bridge::now;
use kakehashi::crm::verify::verify;
use kakehashi::events::{Data, Event};

/// The secret that the bridge signs with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Longest wait for an event; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

type Shared = Arc<(Mutex<Seen>, Condvar)>;

/// What was verified, and when each request was complete.
#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    times: Vec<Instant>,
}

/// A running receiver.
pub(crate) struct Hook {
    pub(crate) port: u16,
    seen: Shared,
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Hook {
    pub(crate) fn listen(port: u16) -> Hook {
        Hook::listen_then(port, |_| {})
    }

    /// Does something about each event before it is answered.
    pub(crate) fn listen_then(port: u16, then: impl Fn(&Event) + Send + Sync + 'static) -> Hook {
        let then: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(then);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Shared::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, then) = (Arc::clone(&shared), Arc::clone(&then));
                std::thread::spawn(move || serve(stream, &shared, &*then));
            }
        });
        Hook { port, seen }
    }

    /// Everything verified so far once it fits.
    pub(crate) fn until(&self, fits: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let (seen, changed) = &*self.seen;
        let waiting = changed.wait_timeout_while(seen.lock().unwrap(), PATIENCE, |seen| !fits(&seen.events)).unwrap();
        let names: Vec<&str> = waiting.0.events.iter().map(Event::type_name).collect();
        assert!(!waiting.1.timed_out(), "not seen within {PATIENCE:?}; so far: {names:?}");
        waiting.0.events.clone()
    }

    /// Everything verified so far, in the order of arrival, with the moment when it was complete.
    pub(crate) fn arrived(&self) -> Vec<(Instant, Event)> {
        let seen = self.seen.0.lock().unwrap();
        seen.times.iter().copied().zip(seen.events.iter().cloned()).collect()
    }

    /// Waits until `calls` calls have their whole document; gives up when nothing at all comes for `patience`.
    pub(crate) fn documents(&self, calls: usize, patience: Duration) {
        let whole = |event: &Event| matches!(&event.data, Data::TranscriptDocument(document) if document.complete);
        let (mut known, mut since) = (0, Instant::now());
        while self.count(whole) < calls && since.elapsed() < patience {
            let now = self.count(|_| true);
            if now > known {
                (known, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many of the events so far fit.
    pub(crate) fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.seen.0.lock().unwrap().events.iter().filter(|event| fits(event)).count()
    }
}

fn serve(stream: TcpStream, shared: &Shared, then: &dyn Fn(&Event)) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((headers, body)) = request(&mut reader) {
        let complete = Instant::now();
        let header = |name: &str| {
            let found = headers.iter().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
            found.map_or("", |(_, value)| value.trim())
        };
        let (id, timestamp, signature) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        verify(SECRET, id, timestamp, signature, &body, now().wall).expect("the signature is valid");
        let event = Event::from_json(std::str::from_utf8(&body).unwrap()).unwrap();
        assert_eq!(event.id.to_string(), id);
        let told = event.clone();
        {
            let mut seen = shared.0.lock().unwrap();
            seen.events.push(event);
            seen.times.push(complete);
        }
        shared.1.notify_all();
        then(&told);
        let _ = writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    }
}

/// One request: its line and header, and its body; `None` when the connection ends before.
pub(crate) fn request(reader: &mut BufReader<TcpStream>) -> Option<(Vec<String>, Vec<u8>)> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        headers.push(line.trim().to_string());
    }
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((headers, body))
}
