//! ARI's event socket at the probe: each event with the time of its arrival.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::ari::Client;
use super::link::reason;
use crate::pbx::asterisk::event::Event;
use crate::probe::facts::Failure;

/// Time for opening the socket.
const OPEN: Duration = Duration::from_secs(4);
/// Time for closing it.
const CLOSE: Duration = Duration::from_millis(500);
/// Events that wait to be looked at; a busy exchange's further ones are dropped.
const EVENTS_MAX: usize = 4_096;

/// Events of the exchange.
pub(super) struct Watcher {
    events: mpsc::Receiver<(Instant, Event)>,
    task: JoinHandle<()>,
    close: Option<oneshot::Sender<()>>,
    /// Events that came and were passed over while another was waited for.
    pub(super) past: Vec<(Instant, Event)>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// Opens the socket, subscribed to all channels, as the bridge does.
    pub(super) async fn open(client: &Client) -> Result<Watcher, Failure> {
        let (address, request, config) = client.event_socket()?;
        let open = async {
            let stream = TcpStream::connect(address).await.map_err(|error| Failure::Connection(reason(&error)))?;
            stream.set_nodelay(true).map_err(|error| Failure::Own(reason(&error)))?;
            match client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => Ok(socket),
                Err(Error::Http(answer)) => Err(Failure::Status(answer.status().as_u16(), "websocket refused".into())),
                Err(_) => Err(Failure::Garbage("no websocket")),
            }
        };
        let mut socket = timeout(OPEN, open).await.map_err(|_| Failure::Silent(OPEN.as_millis() as u64))??;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (close, mut closed) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = socket.next() => message,
                    _ = &mut closed => {
                        let _ = socket.close(None).await;
                        return;
                    }
                };
                match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Ok(event) = Event::parse(&text) {
                            let _ = sender.try_send((Instant::now(), event));
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
        });
        Ok(Watcher { events, task, close: Some(close), past: Vec::new() })
    }

    /// Takes leave of the exchange in order.
    pub(super) async fn close(mut self) {
        if let Some(close) = self.close.take() {
            let _ = close.send(());
        }
        let _ = timeout(CLOSE, &mut self.task).await;
    }

    /// The first event, of those that came and those to come before `until`, that is wanted; it is taken out.
    pub(super) async fn wait(
        &mut self,
        until: Instant,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> Option<(Instant, Event)> {
        if let Some(at) = self.past.iter().position(|(_, event)| wanted(event)) {
            return Some(self.past.remove(at));
        }
        while let Ok(Some((at, event))) = timeout_at(until, self.events.recv()).await {
            if wanted(&event) {
                return Some((at, event));
            }
            if self.past.len() < EVENTS_MAX {
                self.past.push((at, event));
            }
        }
        None
    }
}
