//! Requests as scanners send them, at a rate; and what a process holds of the memory.
#![allow(dead_code)] // each test binary uses its part

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// A sender of requests that nobody waits for.
pub(crate) struct Flood {
    socket: UdpSocket,
    per_s: u32,
    /// Requests sent.
    pub(crate) sent: u64,
}

impl Flood {
    pub(crate) fn from(address: &str, to: SocketAddr, per_s: u32) -> Flood {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        Flood { socket, per_s, sent: 0 }
    }

    /// Sends until `until`, a little every 2 ms.
    pub(crate) fn goes_on(&mut self, until: Instant) {
        let start = Instant::now();
        let mut sent = 0u64;
        while Instant::now() < until {
            let due = (start.elapsed().as_secs_f64() * f64::from(self.per_s)) as u64;
            while sent < due {
                let text = self.request();
                if self.socket.send(text.as_bytes()).is_ok() {
                    self.sent += 1;
                }
                sent += 1;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What was answered, in bytes.
    pub(crate) fn bytes_back(&self) -> usize {
        let mut space = [0; 65_536];
        std::iter::from_fn(|| self.socket.recv(&mut space).ok()).sum()
    }

    fn request(&self) -> String {
        let (n, local) = (self.sent, self.socket.local_addr().unwrap());
        let method = ["OPTIONS", "REGISTER", "INVITE", "SUBSCRIBE"][(n % 4) as usize];
        format!(
            "{method} sip:{n}@192.0.2.80 SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-{n};rport\r\nMax-Forwards: 70\r\n\
             From: \"sipvicious\" <sip:{n}@1.1.1.1>;tag={n}\r\nTo: <sip:{n}@192.0.2.80>\r\nCall-ID: {n}@{local}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:{n}@{local}>\r\nUser-Agent: friendly-scanner\r\nAccept: application/sdp\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }
}

/// Resident memory of a process.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
