//! A small HTTP client over plain TCP: what the tests send is exactly what is written here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer that must come; no test waits for it in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: String,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: String::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut connection = Self::open(address).await;
        connection.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
        connection
    }

    /// Reads until `wanted` is there; what is read up to its end is taken out and returned.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.buffer.find(wanted) {
                let rest = self.buffer.split_off(at + wanted.len());
                return std::mem::replace(&mut self.buffer, rest);
            }
            assert!(self.more().await, "the connection ended before {wanted:?}; got {:?}", self.buffer);
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(mut self) -> String {
        while self.more().await {}
        self.buffer
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("an answer in time");
        let read = read.unwrap_or(0);
        self.buffer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }
}

/// One request on a connection of its own; the whole answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> String {
    let mut connection = Connection::open(address).await;
    connection.send(request).await;
    connection.rest().await
}

/// `GET path`, closed after the answer.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")).await
}
