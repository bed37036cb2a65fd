//! Moves batches with one system call each: `recvmmsg` and `sendmmsg` (Linux).
//!
//! **Invariant**: after its construction nothing here allocates, except where the kernel sends
//! other control messages than it did before, which no known kernel does.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, recvmmsg, sendmmsg,
};
use nix::sys::time::TimeSpec;

use super::batch::{Batch, Link, SLOTS, Slot, Wait};
use super::socket::{Datagrams, Local};

/// One socket with the headers that its system calls need.
#[derive(Debug)]
pub(crate) enum Batched {
    /// An IPv4 socket.
    V4(Headers<SockaddrIn>),
    /// An IPv6 socket.
    V6(Headers<SockaddrIn6>),
}

/// The headers, for socket addresses no longer than the family's: they are copied a few times for
/// each datagram.
#[derive(Debug)]
pub(crate) struct Headers<A> {
    socket: Arc<Datagrams>,
    // One set for each direction: sending leaves pointers in the headers that receiving would
    // write through.
    incoming: MultiHeaders<A>,
    outgoing: MultiHeaders<A>,
}

/// A socket address of one family.
pub(crate) trait Family: SockaddrLike + Copy {
    /// From the general form, if the family is this.
    fn of(address: SocketAddr) -> Option<Self>;

    /// The general form.
    fn general(self) -> SocketAddr;
}

impl Family for SockaddrIn {
    fn of(address: SocketAddr) -> Option<Self> {
        match address {
            SocketAddr::V4(address) => Some(address.into()),
            SocketAddr::V6(_) => None,
        }
    }

    fn general(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Family for SockaddrIn6 {
    fn of(address: SocketAddr) -> Option<Self> {
        match address {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(address) => Some(address.into()),
        }
    }

    fn general(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}

/// The control message that sets the address a datagram leaves from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PacketInfo {
    /// ip(7), `IP_PKTINFO`.
    V4(libc::in_pktinfo),
    /// ipv6(7), `IPV6_PKTINFO`.
    V6(libc::in6_pktinfo),
}

impl Batched {
    /// Headers for `socket`.
    pub(crate) fn new(socket: Arc<Datagrams>) -> Self {
        if socket.is_ipv6() {
            Self::V6(Headers::new(socket))
        } else {
            Self::V4(Headers::new(socket))
        }
    }
}

impl Link for Batched {
    fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<()> {
        match self {
            Self::V4(headers) => headers.receive(batch, wait),
            Self::V6(headers) => headers.receive(batch, wait),
        }
    }

    fn send(&mut self, batch: &mut Batch) -> u64 {
        match self {
            Self::V4(headers) => headers.send(batch),
            Self::V6(headers) => headers.send(batch),
        }
    }
}

impl<A: Family> Headers<A> {
    fn new(socket: Arc<Datagrams>) -> Self {
        let incoming = incoming(&socket);
        let space = match (socket.is_wildcard(), socket.is_ipv6()) {
            (false, _) => None,
            (true, false) => Some(cmsg_space!(libc::in_pktinfo)),
            (true, true) => Some(cmsg_space!(libc::in6_pktinfo)),
        };
        let outgoing = MultiHeaders::preallocate(SLOTS, space);
        Self {
            socket,
            incoming,
            outgoing,
        }
    }

    /// Sends the replies of `batch` that leave from `local`, from slot `from` on; the slots that
    /// were tried, and how many of them went out.
    fn send_some(&mut self, batch: &Batch, from: usize, local: Option<Local>) -> (Group, usize) {
        let mut group = Group {
            slots: [0; SLOTS],
            length: 0,
        };
        let mut targets: [Option<A>; SLOTS] = [None; SLOTS];
        let mut slices = [[IoSlice::new(&[])]; SLOTS];
        let chosen = batch.each().enumerate().skip(from);
        let chosen = chosen.filter(|(_, (slot, _))| slot.reply > 0 && slot.local == local);
        let places = group.slots.iter_mut().zip(&mut targets).zip(&mut slices);
        for ((index, (slot, octets)), ((place, target), slice)) in chosen.zip(places) {
            *place = index;
            *target = A::of(slot.source);
            *slice = [IoSlice::new(octets.get(..slot.reply).unwrap_or_default())];
            group.length += 1;
        }
        let info = local.map(PacketInfo::from);
        let info: Option<ControlMessage> = info.as_ref().map(PacketInfo::control_message);
        let sent = sendmmsg(
            self.socket.socket().as_raw_fd(),
            &mut self.outgoing,
            slices.iter().take(group.length),
            targets,
            info.as_slice(),
            MsgFlags::empty(),
        );
        (group, sent.map_or(0, Iterator::count))
    }
}

/// The slots of one `sendmmsg`.
struct Group {
    slots: [usize; SLOTS],
    length: usize,
}

impl<A: Family> Headers<A> {
    fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<()> {
        batch.clear();
        let flags = match wait {
            Wait::First => MsgFlags::MSG_WAITFORONE,
            Wait::No => MsgFlags::MSG_DONTWAIT,
        };
        let whole;
        let mut filled = 0;
        {
            let (slots, mut buffers) = batch.parts_mut();
            let mut slices: [[IoSliceMut; 1]; SLOTS] =
                std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
            let fd = self.socket.socket().as_raw_fd();
            let messages = recvmmsg(fd, &mut self.incoming, slices.iter_mut(), flags, None)?;
            let wildcard = self.socket.is_wildcard();
            let mut complete = true;
            for (slot, message) in slots.iter_mut().zip(messages) {
                complete &= fill(slot, &message, wildcard);
                filled += 1;
            }
            whole = complete;
        }
        batch.set_filled(filled);
        if !whole {
            // The kernel shortens the room for control messages to what the last ones took.
            self.incoming = incoming(&self.socket);
        }
        Ok(())
    }

    fn send(&mut self, batch: &mut Batch) -> u64 {
        let mut refused = 0;
        let mut from = 0;
        let mut pending = [false; SLOTS];
        for (pending, slot) in pending.iter_mut().zip(batch.slots()) {
            *pending = slot.reply > 0;
        }
        // Control messages are shared by a call, so there is one for each local address: in
        // practice, one.
        while let Some((first, local)) = next(batch, &pending, from) {
            from = first;
            let (group, sent) = self.send_some(batch, first, local);
            let tried = group.slots.iter().take(group.length);
            for (order, index) in tried.enumerate().take(sent + 1) {
                let (Some(pending), Some(slot)) =
                    (pending.get_mut(*index), batch.slots_mut().get_mut(*index))
                else {
                    continue;
                };
                *pending = false;
                // The call stops at the first datagram that the system refuses.
                if order == sent {
                    slot.reply = 0;
                    refused += 1;
                }
            }
        }
        refused
    }
}

/// The first slot from `from` on that is still to be sent.
fn next(batch: &Batch, pending: &[bool; SLOTS], from: usize) -> Option<(usize, Option<Local>)> {
    let slots = batch.slots().iter().zip(pending).enumerate().skip(from);
    let mut waiting = slots.filter(|(_, (_, pending))| **pending);
    waiting.next().map(|(index, (slot, _))| (index, slot.local))
}

fn incoming<A: Family>(socket: &Datagrams) -> MultiHeaders<A> {
    let space = match (socket.is_wildcard(), socket.is_ipv6()) {
        (false, _) => cmsg_space!(TimeSpec),
        (true, false) => cmsg_space!(TimeSpec, libc::in_pktinfo),
        (true, true) => cmsg_space!(TimeSpec, libc::in6_pktinfo),
    };
    MultiHeaders::preallocate(SLOTS, Some(space))
}

/// Notes what came with a datagram; whether its control messages were complete.
fn fill<A: Family>(slot: &mut Slot, message: &RecvMsg<'_, '_, A>, wildcard: bool) -> bool {
    let source = message.address.map(A::general);
    // Without a source there is nobody to answer: an empty datagram is dropped.
    slot.length = if source.is_some() { message.bytes } else { 0 };
    slot.source = source.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    slot.reply = 0;
    slot.local = None;
    slot.received = Duration::MAX;
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(stamp) => slot.received = stamp.into(),
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let octets = info.ipi_spec_dst.s_addr.to_ne_bytes();
                slot.local = Some(Local::V4(Ipv4Addr::from(octets)));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                slot.local = Some(Local::v6(address, info.ipi6_ifindex));
            }
            _ => {}
        }
    }
    slot.received != Duration::MAX && (slot.local.is_some() || !wildcard)
}

impl PacketInfo {
    /// As nix wants it.
    pub(crate) fn control_message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}

impl From<Local> for PacketInfo {
    fn from(local: Local) -> Self {
        match local {
            Local::V4(address) => Self::V4(libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            }),
            Local::V6(address, interface) => Self::V6(libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: interface,
            }),
        }
    }
}
