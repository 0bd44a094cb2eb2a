//! Between a socket and its session.

use std::net::{IpAddr, SocketAddr};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};

use super::table::{Entry, Unread};
use crate::outbox::Spare;

/// A session, sans-I/O, as the loop drives it. Times are milliseconds.
pub(super) trait Talk {
    /// What all sessions share: options, and the events until they are taken.
    type Context;

    /// Bytes of the peer.
    fn receive_data(&mut self, data: &mut [u8], now: u64, context: &mut Self::Context);
    /// The peer will send nothing more.
    fn receive_eof(&mut self, now: u64, context: &mut Self::Context);
    /// The connection broke.
    fn lost(&mut self, context: &mut Self::Context);
    /// Does what is due.
    fn handle_timeout(&mut self, now: u64, context: &mut Self::Context);
    /// Lends it the buffer for what it will send.
    fn borrow(&mut self, spare: &mut Spare);
    /// Takes the buffer back, unless something waits in it.
    fn give_back(&mut self, spare: &mut Spare);
    /// Bytes for the peer.
    fn data_to_send(&self) -> &[u8];
    /// So many of them were taken.
    fn sent(&mut self, size: usize, now: u64, context: &mut Self::Context);
    /// Whether bytes of the peer are to be read.
    fn wants_data(&self) -> bool;
    /// Whether the sending side is to be shut now.
    fn wants_shutdown(&mut self) -> bool;
    /// Whether somebody else is to have the socket.
    fn is_handed_over(&self) -> bool;
    /// Whether the socket can go.
    fn is_over(&self) -> bool;
    /// Whether the socket is to be reset when it goes.
    fn was_cut(&self) -> bool;
    /// When it wants to be looked at.
    fn next_deadline(&self) -> Option<u64>;
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared<C> {
    pub(super) context: C,
    /// One buffer for all that is received; connections keep none.
    pub(super) received: Vec<u8>,
    /// One buffer for all that leaves at once.
    pub(super) spare: Spare,
}

impl<T: Talk, N> Entry<T, N> {
    /// Reads once.
    pub(super) fn receive(&mut self, shared: &mut Shared<T::Context>, now: u64) {
        let Shared {
            context, received, ..
        } = shared;
        received.clear();
        let most = received.capacity();
        match net::recv(&self.socket, spare_capacity(received), RecvFlags::empty()) {
            Ok((0, _)) => {
                self.unread = Unread::Nothing;
                self.session.receive_eof(now, context);
            }
            Ok((size, _)) => {
                if self.unread == Unread::Bytes && size < most {
                    self.unread = Unread::Nothing;
                }
                self.session.receive_data(received, now, context);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.unread = Unread::Nothing,
            Err(_) => {
                self.unread = Unread::Nothing;
                self.session.lost(context);
            }
        }
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, shared: &mut Shared<T::Context>, now: u64) {
        self.session.handle_timeout(now, &mut shared.context);
        self.flush(shared, now);
    }

    /// Sends what the socket takes, and shuts the sending side when that is asked for.
    pub(super) fn flush(&mut self, shared: &mut Shared<T::Context>, now: u64) {
        let context = &mut shared.context;
        while !self.session.data_to_send().is_empty() {
            let data = self.session.data_to_send();
            match net::send(&self.socket, data, SendFlags::NOSIGNAL) {
                Ok(size) => self.session.sent(size, now, context),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.session.sent(0, now, context);
                    break;
                }
                Err(_) => {
                    self.session.lost(context);
                    break;
                }
            }
        }
        if self.session.wants_shutdown() {
            // A peer that is gone already needs no end of stream.
            let _ = net::shutdown(&self.socket, Shutdown::Write);
        }
    }

    /// The address the connection came from, while it is known.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        net::getpeername(&self.socket)
            .ok()
            .flatten()
            .and_then(|address| SocketAddr::try_from(address).ok())
            .map(|address| address.ip())
    }
}
