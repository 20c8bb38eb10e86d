//! One media connection of chan_websocket: made by Asterisk (its client mode), or by us to Asterisk's HTTP server.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::handshake::client::Request as Handshake;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config, client_async_with_config};
use tracing::debug;

use super::inside::Inside;
use super::{Place, Tap, instant, prepare};
use crate::bridge::now;
use crate::pbx::asterisk::announce::{of_fields, query_fields, variable_fields};
use crate::pbx::asterisk::audiosocket::Patience;
use crate::pbx::asterisk::websocket::{Connection, Ended, Output, Start, TEXT_MAX};

/// Sub-protocol of the handshake.
const PROTOCOL: &str = "media";
/// How long one message may take to be written, and the close at the end.
const WRITE: Duration = Duration::from_millis(500);

type Socket = WebSocketStream<TcpStream>;

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(TEXT_MAX)).max_frame_size(Some(TEXT_MAX))
}

/// Takes the query of the address and answers with the sub-protocol that Asterisk wants.
struct Greeting<'a>(&'a mut String);

impl Callback for Greeting<'_> {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        self.0.push_str(request.uri().query().unwrap_or_default());
        if let Some(offered) = request.headers().get("Sec-WebSocket-Protocol")
            && offered.to_str().is_ok_and(|all| all.split(',').any(|one| one.trim() == PROTOCOL))
        {
            response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
        }
        Ok(response)
    }
}

/// Serves a connection that Asterisk made, until its end.
pub(super) async fn serve(place: Place, stream: TcpStream, from: SocketAddr) {
    let (mut stopped, patience) = (place.entrance.stop.subscribe(), place.entrance.patience);
    let mut query = String::new();
    let shake = accept_hdr_async_with_config(stream, Greeting(&mut query), Some(config()));
    let Ok(Ok(socket)) = timeout(patience.unknown, shake).await else { return };
    let mut call = Call { socket, connection: Connection::new(now(), patience), inside: None };
    let mut welcome = Welcome { place, from, query };
    let why = loop {
        if let Some(why) = call.carry_out(Some(&mut welcome)).await {
            break why;
        }
        tokio::select! {
            () = call.turn() => {}
            _ = stopped.wait_for(|stop| *stop) => call.connection.stop(now(), Ended::Stopped),
        }
    };
    call.over(why).await;
}

/// Connects to Asterisk for a tap and carries it until its end; `stop` ends it.
pub(in crate::bridge) async fn connect(
    (address, request): (String, Handshake),
    media: super::MediaHandle,
    patience: Patience,
    tap: Tap,
    stop: oneshot::Receiver<()>,
) {
    let open = async {
        let stream = TcpStream::connect(&address).await.map_err(|error| error.to_string())?;
        prepare(&stream);
        let from = stream.peer_addr().map_err(|error| error.to_string())?;
        match client_async_with_config(request, stream, Some(config())).await {
            Ok((socket, _)) => Ok((socket, from)),
            Err(SocketError::Http(answer)) => Err(format!("it was refused with status {}", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    };
    let opened = timeout(patience.unknown, open).await;
    let (socket, from) = match opened.unwrap_or_else(|_| Err("no answer in time".into())) {
        Ok(open) => open,
        Err(reason) => return (tap.ended)(format!("no websocket to Asterisk at {address}: {reason}")),
    };
    let inside = Inside::dialled(media, from, tap, stop);
    let mut call = Call { socket, connection: Connection::new(now(), patience), inside: Some(inside) };
    let why = loop {
        if let Some(why) = call.carry_out(None).await {
            break why;
        }
        call.turn().await;
    };
    call.over(why).await;
}

/// What a connection that Asterisk made is judged by.
struct Welcome {
    place: Place,
    from: SocketAddr,
    query: String,
}

struct Call {
    socket: Socket,
    connection: Connection,
    inside: Option<Inside>,
}

impl Call {
    /// Waits for the next message, the next timer or the end of the tap.
    async fn turn(&mut self) {
        let stop = async {
            match &mut self.inside {
                Some(inside) => _ = (&mut inside.stop).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.socket.next() => match message {
                Some(Ok(Message::Binary(sound))) => self.connection.handle_binary(now(), &sound),
                Some(Ok(Message::Text(text))) => self.connection.handle_text(now(), &text),
                Some(Ok(Message::Close(_))) => self.connection.handle_closed(now(), false),
                Some(Ok(_)) => {}
                Some(Err(SocketError::Capacity(_) | SocketError::Utf8(_))) => {
                    self.connection.stop(now(), Ended::Malformed("a message that is too long or not UTF-8"));
                }
                Some(Err(_)) | None => self.connection.handle_closed(now(), true),
            },
            () = sleep_until(instant(self.connection.due())) => self.connection.handle_timeout(now()),
            () = stop => self.connection.stop(now(), Ended::Stopped),
        }
    }

    /// Does what the machine wants; why the connection is over, when it is.
    async fn carry_out(&mut self, mut welcome: Option<&mut Welcome>) -> Option<Ended> {
        while let Some(output) = self.connection.poll_output() {
            match output {
                Output::Send(text) => {
                    if !matches!(timeout(WRITE, self.socket.send(Message::text(text))).await, Ok(Ok(()))) {
                        debug!("a command could not be sent");
                    }
                }
                Output::Identified(start) => self.identify(&start, welcome.as_deref_mut()),
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

    fn identify(&mut self, start: &Start, welcome: Option<&mut Welcome>) {
        let Some(format) = self.connection.format() else { return };
        if let (None, Some(welcome)) = (&self.inside, welcome) {
            let mut fields = query_fields(&welcome.query);
            fields.extend(variable_fields(&start.variables));
            let (own, from) = (of_fields(&fields), welcome.from);
            match Inside::admit(&mut welcome.place, &start.channel_id, own, from, format) {
                Ok(inside) => self.inside = Some(inside),
                Err(refusal) => {
                    debug!(pbx = welcome.place.entrance.pbx.0, %refusal, "a media websocket is refused");
                    return self.connection.stop(now(), Ended::Stopped);
                }
            }
        }
        let Some(inside) = &self.inside else { return };
        if inside.is_tap() && inside.format != format {
            return self.connection.stop(now(), Ended::Malformed("another codec than was asked for"));
        }
        self.connection.admit(inside.ssrc());
    }

    async fn over(mut self, why: Ended) {
        let _ = timeout(WRITE, self.socket.close(None)).await;
        if let Some(inside) = self.inside.take() {
            inside.over(why, self.connection.counts()).await;
        }
    }
}
