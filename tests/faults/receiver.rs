//! The CRM's end: verifies and records what comes, and behaves as badly as it is told.

use std::collections::HashSet;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kakehashi::crm::verify::verify;
use kakehashi::events::{Data, Event};
use kakehashi::time::Wall;
use socket2::{Domain, Socket, Type};
use uuid::Uuid;

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
    /// 429, and to come again in an hour.
    InAnHour,
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
    /// Takes nothing, and says to come again in an hour.
    pub(crate) is_busy: bool,
}

impl Temper {
    /// Everything is taken.
    pub(crate) fn good() -> Temper {
        Temper { bad: 0, seed: 0, is_busy: false }
    }

    /// So many of a hundred requests are treated badly.
    pub(crate) fn bad(bad: usize, seed: u64) -> Temper {
        Temper { bad, seed, is_busy: false }
    }

    /// Nothing is taken for now.
    pub(crate) fn busy() -> Temper {
        Temper { is_busy: true, ..Temper::good() }
    }
}

#[derive(Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    wrong: Vec<String>,
    times: Vec<Wall>,
    pops: HashSet<(String, Uuid)>,
}

/// A receiver of every endpoint, each at the path of its name.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    socket: Socket,
    temper: Arc<Mutex<(Temper, Dice)>>,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    /// One that is not there yet: its port is its own, and connections are refused.
    pub(crate) fn away() -> Receiver {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let temper = Arc::new(Mutex::new((Temper::good(), Dice(0))));
        Receiver { port, socket, temper, seen: Arc::default() }
    }

    /// It is there from now on.
    pub(crate) fn come(&self) {
        self.socket.listen(128).unwrap();
        let listener: TcpListener = self.socket.try_clone().unwrap().into();
        let (seen, temper) = (Arc::clone(&self.seen), Arc::clone(&self.temper));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, temper) = (Arc::clone(&seen), Arc::clone(&temper));
                std::thread::spawn(move || serve(stream, &seen, || manner(&mut temper.lock().unwrap())));
            }
        });
    }

    /// Requests that come from now on are treated so.
    pub(crate) fn behave(&self, temper: Temper) {
        *self.temper.lock().unwrap() = (temper, Dice(temper.seed));
    }

    /// What came so far, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().unwrap().arrivals.clone()
    }

    /// What was wrong with requests.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.seen.lock().unwrap().wrong.clone()
    }

    /// Realtime events that came, per endpoint.
    pub(crate) fn pops(&self) -> usize {
        self.seen.lock().unwrap().pops.len()
    }

    /// When the events that came happened, by their own account.
    pub(crate) fn times(&self) -> Vec<Wall> {
        self.seen.lock().unwrap().times.clone()
    }
}

/// How the next request is treated, and a number that chooses among several answers.
fn manner((temper, dice): &mut (Temper, Dice)) -> (Manner, usize) {
    let manner = match temper {
        Temper { is_busy: true, .. } => Manner::InAnHour,
        Temper { bad, .. } if dice.below(100) < *bad => BAD[dice.below(BAD.len())],
        _ => Manner::Take,
    };
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
        let manner = note(read(&headers, &body), manner, &mut seen.lock().unwrap());
        if !answer(manner, &mut writer, &mut reader, which) {
            let _ = reader.get_ref().shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Writes down what came; how it is treated. A realtime event is always taken.
fn note(came: Result<Came, String>, manner: Manner, seen: &mut Seen) -> Manner {
    match came {
        Ok(Came::Record(mut arrival, time)) => {
            arrival.taken = matches!(manner, Manner::Take | Manner::TakeAndBreak | Manner::TakeWithoutEnd);
            seen.arrivals.push(arrival);
            seen.times.push(time);
            manner
        }
        Ok(Came::Pop(endpoint, id)) => {
            seen.pops.insert((endpoint, id));
            Manner::Take
        }
        Err(problem) => {
            seen.wrong.push(problem);
            manner
        }
    }
}

/// An event whose signature and body are right.
enum Came {
    /// And when it happened.
    Record(Arrival, Wall),
    Pop(String, Uuid),
}

/// Clocks are stepped in the tests, so a signature's time is taken as it is.
fn read(headers: &[String], body: &[u8]) -> Result<Came, String> {
    let header = |name: &str| {
        let found = headers.iter().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
        found.map_or("", |(_, value)| value.trim())
    };
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let signed = Wall(timestamp.parse::<i64>().map_err(|_| "no time")?.saturating_mul(1_000_000));
    verify(SECRET, id, timestamp, signature, body, signed).map_err(|refusal| refusal.to_string())?;
    let event = std::str::from_utf8(body).map_err(|_| "no UTF-8")?;
    let event = Event::from_json(event).map_err(|error| error.to_string())?;
    if event.id.to_string() != id {
        return Err(format!("{id} has the event {}", event.id));
    }
    let path = headers.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let endpoint = path.trim_start_matches('/').to_string();
    if matches!(event.data, Data::ScreenPopWithdrawn(_)) {
        return Ok(Came::Pop(endpoint, event.id));
    }
    let arrival = Arrival {
        endpoint,
        event: Entry {
            id: event.id,
            contact: event.contact,
            sequence: event.sequence.ok_or("no sequence")?,
            digest: digest(body),
        },
        taken: false,
    };
    Ok(Came::Record(arrival, event.time))
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
        Manner::InAnHour => whole(writer, "HTTP/1.1 429 Later\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"),
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
