//! The CRM's end: verifies and records what comes, and behaves as badly as it is told.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kakehashi::crm::verify::verify;
use kakehashi::events::Event;
use kakehashi::time::Wall;

use crate::hook::{SECRET, request};
use crate::ledger::{Arrival, Entry, digest};
use crate::mutate::Dice;

/// How it treats one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// 204.
    Take,
    /// 200, and the body that was promised does not come.
    TakeAndBreak,
    /// 200 with a body that never ends.
    TakeWithoutEnd,
    /// 500 to 504.
    Fail,
    /// 429, with or without Retry-After.
    Later,
    /// No answer, for as long as the other end waits.
    Silent,
    /// What is no HTTP.
    Garbage,
    /// A header without end.
    HeadWithoutEnd,
    /// The connection ends without an answer.
    HangUp,
    /// The connection ends before the request was read.
    HangUpAtOnce,
}

/// All manners but the first, some more often than others: those that wait cost time.
const BAD: [Manner; 24] = {
    use Manner::*;
    [
        Fail,
        Fail,
        Fail,
        Fail,
        Later,
        Later,
        HangUp,
        HangUp,
        HangUp,
        HangUpAtOnce,
        HangUpAtOnce,
        HangUpAtOnce,
        Garbage,
        Garbage,
        Garbage,
        TakeAndBreak,
        TakeAndBreak,
        TakeAndBreak,
        TakeWithoutEnd,
        TakeWithoutEnd,
        HeadWithoutEnd,
        HeadWithoutEnd,
        Silent,
        Silent,
    ]
};

/// How it behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    /// How many of a hundred requests are treated badly.
    pub(crate) bad: usize,
    pub(crate) seed: u64,
}

impl Temper {
    /// Everything is taken.
    pub(crate) fn good() -> Temper {
        Temper { bad: 0, seed: 0 }
    }
}

#[derive(Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    wrong: Vec<String>,
    times: Vec<Wall>,
}

/// A running receiver of every endpoint, each at the path of its name.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    pub(crate) fn listen(temper: Temper) -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, dice) = (Arc::default(), Arc::new(Mutex::new(Dice(temper.seed))));
        let receiver = Receiver { port, seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, dice) = (Arc::clone(&seen), Arc::clone(&dice));
                std::thread::spawn(move || serve(stream, &seen, || manner(temper, &mut dice.lock().unwrap())));
            }
        });
        receiver
    }

    /// What came so far, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().unwrap().arrivals.clone()
    }

    /// What was wrong with requests.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.seen.lock().unwrap().wrong.clone()
    }

    /// When the events that came happened, by their own account.
    pub(crate) fn times(&self) -> Vec<Wall> {
        self.seen.lock().unwrap().times.clone()
    }
}

/// How the next request is treated, and a number that chooses among several answers.
fn manner(temper: Temper, dice: &mut Dice) -> (Manner, usize) {
    let manner = if dice.below(100) < temper.bad { BAD[dice.below(BAD.len())] } else { Manner::Take };
    (manner, dice.below(10))
}

fn serve(stream: TcpStream, seen: &Mutex<Seen>, manner: impl Fn() -> (Manner, usize)) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let (manner, which) = manner();
        if manner == Manner::HangUpAtOnce {
            // what was written already is thrown away with the connection
            let _ = reader.get_ref().shutdown(Shutdown::Both);
            return;
        }
        let Some((headers, body)) = request(&mut reader) else { return };
        let arrival = read(&headers, &body);
        {
            let mut seen = seen.lock().unwrap();
            match arrival {
                Ok((mut arrival, time)) => {
                    arrival.taken = matches!(manner, Manner::Take | Manner::TakeAndBreak | Manner::TakeWithoutEnd);
                    seen.arrivals.push(arrival);
                    seen.times.push(time);
                }
                Err(problem) => seen.wrong.push(problem),
            }
        }
        if !answer(manner, &mut writer, &mut reader, which) {
            let _ = reader.get_ref().shutdown(Shutdown::Both);
            return;
        }
    }
}

/// An arrival, and when its event happened. Clocks are stepped in the tests, so a signature's time is taken as it is.
fn read(headers: &[String], body: &[u8]) -> Result<(Arrival, Wall), String> {
    let header = |name: &str| {
        let found = headers.iter().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
        found.map_or("", |(_, value)| value.trim())
    };
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let signed = Wall(timestamp.parse::<i64>().map_err(|_| "no time")?.saturating_mul(1_000_000));
    verify(SECRET, id, timestamp, signature, body, signed).map_err(|refusal| refusal.to_string())?;
    let event = std::str::from_utf8(body).map_err(|_| "no UTF-8")?;
    let event = Event::from_json(event).map_err(|error| error.to_string())?;
    let endpoint = headers.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let arrival = Arrival {
        endpoint: endpoint.trim_start_matches('/').into(),
        event: Entry {
            id: event.id,
            contact: event.contact,
            sequence: event.sequence.ok_or("no sequence")?,
            digest: digest(body),
        },
        taken: false,
    };
    if event.id.to_string() == id { Ok((arrival, event.time)) } else { Err(format!("{id} has the event {}", event.id)) }
}

/// Answers; whether the connection goes on.
fn answer(manner: Manner, writer: &mut TcpStream, reader: &mut BufReader<TcpStream>, which: usize) -> bool {
    let whole = |writer: &mut TcpStream, answer: &str| writer.write_all(answer.as_bytes()).is_ok();
    match manner {
        Manner::Take => whole(writer, "HTTP/1.1 204 No Content\r\n\r\n"),
        Manner::Fail => whole(writer, &format!("HTTP/1.1 {} Away\r\nContent-Length: 0\r\n\r\n", 500 + which % 5)),
        Manner::Later => {
            let asked = match which {
                0 => "Retry-After: 1\r\n",
                1 | 2 => "Retry-After: 0\r\n",
                3 | 4 => "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                5 | 6 => "Retry-After: soon\r\n",
                _ => "",
            };
            whole(writer, &format!("HTTP/1.1 429 Later\r\n{asked}Content-Length: 0\r\n\r\n"))
        }
        Manner::TakeAndBreak => {
            whole(writer, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
            false
        }
        Manner::TakeWithoutEnd => {
            whole(writer, "HTTP/1.1 200 OK\r\n\r\n");
            while writer.write_all(&[b'x'; 4_096]).is_ok() {}
            false
        }
        Manner::HeadWithoutEnd => {
            whole(writer, "HTTP/1.1 200 OK\r\n");
            while writer.write_all(b"x-more: of the same\r\n").is_ok() {}
            false
        }
        Manner::Garbage => {
            whole(writer, "\u{0}\u{1}what is this\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
            false
        }
        Manner::Silent => {
            let mut byte = [0];
            while reader.read(&mut byte).is_ok_and(|got| got > 0) {}
            false
        }
        Manner::HangUp | Manner::HangUpAtOnce => false,
    }
}
