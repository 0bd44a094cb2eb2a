//! Between a socket and its session.

use std::net::{IpAddr, SocketAddr};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};

use super::table::Entry;
use crate::session::{Event, SessionOptions, Spare};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SessionOptions,
    /// One buffer for all that is received; connections keep none.
    pub(super) received: Vec<u8>,
    pub(super) events: Vec<Event>,
    pub(super) spare: Spare,
}

impl Entry {
    /// Reads once and answers. Whether there is more to read: more than fits, or the end of what
    /// has `ended`. The kernel has told of it already, and will not again.
    pub(super) fn readable(&mut self, shared: &mut Shared, ended: bool, now: u64) -> bool {
        shared.received.clear();
        let most = shared.received.capacity();
        let room = spare_capacity(&mut shared.received);
        let mut more = false;
        match net::recv(&self.socket, room, RecvFlags::empty()) {
            Ok((0, _)) => self.session.receive_eof(&mut shared.events),
            Ok((size, _)) => {
                more = ended || size >= most;
                self.session.receive_data(
                    &mut shared.received,
                    now,
                    &shared.options,
                    &mut shared.events,
                );
            }
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => more = true,
            Err(_) => self.session.receive_eof(&mut shared.events),
        }
        self.flush(shared, now);
        more
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, shared: &mut Shared, now: u64) {
        let Shared {
            options, events, ..
        } = shared;
        self.session.handle_timeout(now, options, events);
        self.flush(shared, now);
    }

    /// Sends what the socket takes, and shuts the sending side when that is asked for.
    pub(super) fn flush(&mut self, shared: &mut Shared, now: u64) {
        while !self.session.data_to_send().is_empty() {
            match net::send(
                &self.socket,
                self.session.data_to_send(),
                SendFlags::NOSIGNAL,
            ) {
                Ok(size) => self.session.sent(size, now, &shared.options),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.session.sent(0, now, &shared.options);
                    break;
                }
                Err(_) => {
                    self.session.receive_eof(&mut shared.events);
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
