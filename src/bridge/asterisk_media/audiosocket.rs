//! One AudioSocket connection, or an announcement (HTTP) on the same port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::debug;

use super::inside::Inside;
use super::{Entrance, Place, instant};
use crate::bridge::now;
use crate::pbx::asterisk::announce::{self, Request};
use crate::pbx::asterisk::audiosocket::{Connection, Ended, Output};
use crate::pbx::asterisk::door::Refusal;

/// Bytes that are read at once.
const READ: usize = 4_096;
/// Frames that wait to be written: half a second. A peer that leaves more is dropped.
const WRITES: usize = 25;
/// What the system may keep of what is written, in bytes: a second of sound, so that a peer who does not read is soon noticed.
const SEND_BUFFER: usize = 16_384;
/// How long the last frames may take.
const LAST: Duration = Duration::from_millis(500);

/// Serves a connection until its end.
pub(super) async fn serve(place: Place, mut stream: TcpStream, from: SocketAddr) {
    let entrance = Arc::clone(&place.entrance);
    let mut stopped = entrance.stop.subscribe();
    let mut buffer = vec![0; READ];
    // Asterisk says at once which call it is; until then nothing is sent, for it may be a request
    let patience = Instant::now() + entrance.patience.unknown;
    let length = tokio::select! {
        read = timeout_at(patience, stream.read(&mut buffer)) => match read {
            Ok(Ok(length)) if length > 0 => length,
            _ => return,
        },
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    let first = buffer.get(..length).unwrap_or_default();
    if announce::is_request(first) {
        let request = first.to_vec();
        let _ = timeout_at(patience, announced(&entrance, &mut stream, request)).await;
        return;
    }
    let mut connection = Connection::new(now(), entrance.plain, entrance.patience);
    connection.handle_timeout(now());
    connection.handle_bytes(now(), first);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let (mut reader, writer) = stream.into_split();
    let (writes, queue) = mpsc::channel(WRITES);
    let mut writing = Some(tokio::spawn(write(writer, queue)));
    let mut call = Call { place, from, writes: Some(writes), inside: None };
    let why = loop {
        if let Some(why) = call.carry_out(&mut connection) {
            break why;
        }
        let stop = async {
            match &mut call.inside {
                Some(inside) => _ = (&mut inside.stop).await,
                None => std::future::pending().await,
            }
        };
        let all_stop = async { _ = stopped.wait_for(|stop| *stop).await };
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) => {
                    call.writes = None;
                    connection.handle_closed(now(), was_reset(&mut writing).await);
                }
                Ok(length) => connection.handle_bytes(now(), buffer.get(..length).unwrap_or_default()),
                Err(_) => connection.handle_closed(now(), true),
            },
            () = sleep_until(instant(connection.due())) => connection.handle_timeout(now()),
            () = stop => connection.stop(now(), Ended::Stopped),
            () = all_stop => connection.stop(now(), Ended::Stopped),
        }
    };
    call.writes = None;
    was_reset(&mut writing).await;
    if let Some(inside) = call.inside {
        inside.over(why, connection.counts()).await;
    }
}

/// A connection and what it wants done.
struct Call {
    place: Place,
    from: SocketAddr,
    writes: Option<mpsc::Sender<Vec<u8>>>,
    inside: Option<Inside>,
}

impl Call {
    /// Does what the machine wants; why the connection is over, when it is.
    fn carry_out(&mut self, connection: &mut Connection) -> Option<Ended> {
        while let Some(output) = connection.poll_output() {
            match output {
                Output::Send(bytes) => {
                    let sent = self.writes.as_ref().map(|writes| writes.try_send(bytes));
                    if let Some(Err(TrySendError::Full(_))) = sent {
                        connection.stop(now(), Ended::Slow);
                    }
                }
                Output::Identified(id) => {
                    let (pbx, plain) = (self.place.entrance.pbx.clone(), self.place.entrance.plain);
                    match Inside::admit(&mut self.place, &id.to_string(), None, self.from, plain) {
                        Ok(inside) => {
                            connection.admit(inside.format, inside.ssrc());
                            self.inside = Some(inside);
                        }
                        Err(refusal) => {
                            debug!(pbx = pbx.0, %refusal, "an AudioSocket connection is refused");
                            connection.stop(now(), Ended::Stopped);
                        }
                    }
                }
                Output::Sound(packet) => {
                    if let Some(inside) = &self.inside {
                        inside.sound(packet);
                    }
                }
                Output::Digit(digit) => {
                    if let Some(inside) = &self.inside {
                        inside.digit(digit);
                    }
                }
                Output::Ended(why) => return Some(why),
            }
        }
        None
    }
}

/// Writes what is queued; ends with the queue or the connection. A peer that does not read lets the queue become full.
async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(bytes) = queue.recv().await {
        writer.write_all(&bytes).await?;
    }
    writer.shutdown().await
}

/// Waits until the last frames are written, at most [`LAST`]; whether the writer learnt that the connection was reset. The system tells
/// it to whoever asks first: to a reader who comes after the writer it looks like a connection that was closed.
async fn was_reset(writing: &mut Option<JoinHandle<io::Result<()>>>) -> bool {
    let Some(writing) = writing.take() else { return false };
    let abort = writing.abort_handle();
    let Ok(written) = timeout(LAST, writing).await else {
        abort.abort();
        debug!("the last frames of a connection could not be written");
        return false;
    };
    matches!(written, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset)
}

/// Reads an announcement to its end and answers it.
async fn announced(entrance: &Arc<Entrance>, stream: &mut TcpStream, mut request: Vec<u8>) {
    let mut buffer = [0; 1_024];
    let status = loop {
        match announce::read(&request) {
            Request::More => match stream.read(&mut buffer).await {
                Ok(length) if length > 0 => request.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                _ => return,
            },
            Request::Refused(status) => break status,
            Request::Call(name, call) => match uuid::Uuid::parse_str(&name) {
                Ok(id) => match entrance.door().announce(&id.to_string(), *call, now()) {
                    Ok(()) => break 200,
                    Err(Refusal::Twice) => break 409,
                    Err(_) => break 503,
                },
                Err(_) => break 400,
            },
        }
    };
    let _ = stream.write_all(announce::answer(status).as_bytes()).await;
    let _ = stream.shutdown().await;
}
