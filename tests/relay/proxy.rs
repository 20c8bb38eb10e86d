//! The network between: carries connections, counts their bytes, and cuts them where it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::mutate::Dice;

/// The most bytes of a connection before it is cut; beyond the cuts that are left none is.
const LONGEST: usize = 60_000;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    bytes: AtomicU64,
    connections: AtomicUsize,
    cuts_left: AtomicUsize,
    dice: Mutex<Dice>,
    to: Mutex<SocketAddr>,
}

impl Proxy {
    /// Leads to `to`; the first `cuts` connections are cut, in the middle of whatever they carry.
    pub(crate) async fn start(to: SocketAddr, cuts: usize, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            bytes: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            cuts_left: AtomicUsize::new(cuts),
            dice: Mutex::new(Dice(seed)),
            to: Mutex::new(to),
        });
        let proxy = Proxy { port, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, Arc::clone(&shared)));
            }
        });
        proxy
    }

    /// Bytes so far, both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn cuts_left(&self) -> usize {
        self.shared.cuts_left.load(Ordering::SeqCst)
    }
}

async fn carry(here: TcpStream, shared: Arc<Shared>) {
    let to = *shared.to.lock().unwrap();
    let Ok(there) = TcpStream::connect(to).await else { return };
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let cut = shared.cuts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    // some are cut in the handshake already
    let left = if cut { shared.dice.lock().unwrap().below(LONGEST) } else { usize::MAX };
    let (left, cut) = (Arc::new(AtomicUsize::new(left)), Arc::new(Notify::new()));
    let (here_read, here_write) = here.into_split();
    let (there_read, there_write) = there.into_split();
    let one = copy(here_read, there_write, Arc::clone(&shared), Arc::clone(&left), Arc::clone(&cut));
    let other = copy(there_read, here_write, shared, left, Arc::clone(&cut));
    tokio::select! {
        () = cut.notified() => {}
        _ = async { tokio::join!(one, other) } => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    shared: Arc<Shared>,
    left: Arc<AtomicUsize>,
    cut: Arc<Notify>,
) {
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut may = count;
        if left.load(Ordering::SeqCst) != usize::MAX {
            let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(count)));
            may = before.unwrap().min(count);
        }
        shared.bytes.fetch_add(may as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..may]).await.is_err() {
            break;
        }
        if may < count {
            cut.notify_one();
            return;
        }
    }
    let _ = to.shutdown().await;
}
