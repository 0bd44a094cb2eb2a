//! The listening socket. Made here and not taken over, since that would need `unsafe`.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// A bound, listening, non-blocking TCP socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    /// Listens on a numeric address; port 0 picks a free one.
    ///
    /// With `reuse_port` several processes may listen on the same port, and the kernel shares the
    /// connections out. With `send_buffer_bytes` the kernel keeps at most twice as much, its own
    /// overhead included, for a peer of its connections that does not read.
    ///
    /// # Errors
    /// What the system calls answer.
    pub fn bind(
        host: IpAddr,
        port: u16,
        backlog: i32,
        reuse_port: bool,
        send_buffer_bytes: Option<usize>,
    ) -> io::Result<Self> {
        let wanted = SocketAddr::new(host, port);
        let family = if host.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if reuse_port {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        if let Some(size) = send_buffer_bytes {
            // Its connections inherit it.
            sockopt::set_socket_send_buffer_size(&socket, size)?;
        }
        net::bind(&socket, &wanted)?;
        net::listen(&socket, backlog)?;
        let address = net::getsockname(&socket)?
            .try_into()
            .map_err(|_| io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}
