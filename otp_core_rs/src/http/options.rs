//! What a connection may cost and how long it may wait, the same for all connections of a server.

use super::routes::Routes;
use crate::error::Error;

/// Places in a head are kept in 16 bits.
const HEAD_BYTES_MOST: usize = 65_535;

/// Times in milliseconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is answered here.
    pub routes: Routes,
    /// A request's head, and a trailer, each with its empty line.
    pub head_bytes_max: usize,
    /// A body, decoded.
    pub body_bytes_max: usize,
    /// From a request's first byte to the end of its head; a new connection has as long in all.
    pub head_ms: u64,
    /// From the end of the head to the answer.
    pub request_ms: u64,
    /// Between two requests.
    pub idle_ms: u64,
    /// For the peer to take an answer.
    pub write_ms: u64,
    /// From the last byte of the last answer to the end of the connection.
    pub close_ms: u64,
}

impl Options {
    /// The bounds of `transport/http.py`, and 64 KiB of body.
    #[must_use]
    pub const fn new(routes: Routes) -> Self {
        Self {
            routes,
            head_bytes_max: 16 * 1024,
            body_bytes_max: 64 * 1024,
            head_ms: 8_000,
            request_ms: 30_000,
            idle_ms: 75_000,
            write_ms: 10_000,
            close_ms: 2_000,
        }
    }

    /// The same, if a session can keep to them.
    ///
    /// # Errors
    /// A head of more than 65 535 bytes, or of less than a request line.
    pub fn checked(self) -> Result<Self, Error> {
        if (64..=HEAD_BYTES_MOST).contains(&self.head_bytes_max) {
            Ok(self)
        } else {
            Err(Error::Value("head_bytes_max must be 64 to 65535"))
        }
    }
}
