//! A network interface at a mirror port, by a packet socket (packet(7)): every frame with the time at which the kernel took it.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::pbx::mirror::Link;
use crate::time::Wall;

/// Largest frame, with what a card puts together (GRO).
pub(super) const FRAME_MAX: usize = 1 << 17;
/// Bytes that the kernel keeps while we are busy (0.5 s of 100 MBit/s).
const KERNEL_BYTES: usize = 8 << 20;
/// How long a read waits before it looks whether to stop, in microseconds.
const LOOK_US: i64 = 100_000;
/// `ARPHRD_ETHER`, `ARPHRD_LOOPBACK`, and those without a header (`ARPHRD_PPP`, `ARPHRD_NONE`).
const ETHER: u16 = 1;
const LOOPBACK: u16 = 772;
const BARE: [u16; 2] = [512, 65_534];
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;

/// Why an interface cannot be listened to.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// No such interface.
    #[error("there is no such interface here; expected one of: {0}")]
    Unknown(String),
    /// It carries something else than Ethernet or IP.
    #[error("its frames (hardware type {0}) are neither Ethernet nor IP; expected the port of a switch, or a tunnel")]
    Kind(u16),
    /// Reading packets of others needs a right.
    #[error(
        "the system refuses to show its packets ({0}); expected CAP_NET_RAW: AmbientCapabilities=CAP_NET_RAW in the systemd unit, or \
         `setcap cap_net_raw+ep` on the program"
    )]
    Refused(Errno),
    /// Something else failed.
    #[error("the system does not give its packets: {0}")]
    System(Errno),
}

/// The socket.
#[derive(Debug)]
pub(super) struct Interface {
    socket: OwnedFd,
    link: Link,
    loopback: bool,
    control: Vec<u8>,
}

/// A frame as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) length: usize,
    pub(super) link: Link,
    pub(super) at: Option<Wall>,
    /// Frames that the kernel had no room for, since the start.
    pub(super) lost: Option<u32>,
}

impl Interface {
    pub(super) fn open(name: &str) -> Result<Interface, Wrong> {
        let all: Vec<_> = getifaddrs().map_err(Wrong::System)?.collect();
        let link_of =
            |it: &nix::ifaddrs::InterfaceAddress| it.address.as_ref().and_then(|own| own.as_link_addr().copied());
        let address = all.iter().filter(|it| it.interface_name == name).find_map(link_of);
        let Some(address) = address else {
            let mut names: Vec<&str> = all.iter().map(|it| it.interface_name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(Wrong::Unknown(names.join(", ")));
        };
        let link = match address.hatype() {
            ETHER | LOOPBACK => Link::Ethernet,
            kind if BARE.contains(&kind) => Link::Ip,
            kind => return Err(Wrong::Kind(kind)),
        };
        let refused = |errno| match errno {
            Errno::EPERM | Errno::EACCES => Wrong::Refused(errno),
            other => Wrong::System(other),
        };
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
            .map_err(refused)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(Wrong::System)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1).map_err(Wrong::System)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_US)).map_err(Wrong::System)?;
        // more than the usual limit where we may (CAP_NET_ADMIN), else as much as there is
        if setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &KERNEL_BYTES).map_err(Wrong::System)?;
        }
        // its protocol is 0: the kernel keeps that of the socket, and hands out frames of this interface only from here on
        bind(socket.as_raw_fd(), &address).map_err(Wrong::System)?;
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec, u32);
        Ok(Interface { socket, link, loopback: address.hatype() == LOOPBACK, control })
    }

    /// The next frame into `space`; `None` when none came for a while.
    pub(super) fn read(&mut self, space: &mut [u8]) -> Result<Option<Read>, Errno> {
        let mut slices = [IoSliceMut::new(space)];
        let got = recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut slices, Some(&mut self.control), MsgFlags::empty());
        let got = match got {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let mut read = Read { length: got.bytes, link: self.link, at: None, lost: None };
        for message in got.cmsgs().into_iter().flatten() {
            match message {
                ControlMessageOwned::ScmTimestampns(at) => {
                    read.at = Some(Wall(at.tv_sec() * 1_000_000 + at.tv_nsec() / 1_000));
                }
                ControlMessageOwned::RxqOvfl(lost) => read.lost = Some(lost),
                _ => {}
            }
        }
        // loopback shows each frame twice
        let again = self.loopback && got.address.is_some_and(|address| address.pkttype() == OUTGOING);
        Ok((!again).then_some(read))
    }
}
