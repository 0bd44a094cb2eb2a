//! One keep-alive connection with one request at a time.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::answer::parse;
use super::requests::{Asked, Heard, Requests};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    asked: Option<Asked>,
}

impl Connection {
    /// A connection that is up.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            outbox: Vec::new(),
            asked: None,
        }
    }

    /// The socket, to register it or to end it.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether a request waits for its answer.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.asked.is_some()
    }

    /// Sends the next request, which belongs to `at_ns`.
    ///
    /// # Errors
    /// Why the connection is lost, or that there is no request left.
    pub fn ask(&mut self, requests: &mut Requests, at_ns: u64) -> Result<(), String> {
        self.asked = Some(requests.take(at_ns, &mut self.outbox)?);
        self.flush()
    }

    /// Sends what the socket did not take; call it when it is writable.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        while sent < self.outbox.len() {
            match self.stream.write(&self.outbox[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.outbox.drain(..sent);
        Ok(())
    }

    /// Reads what is there; a right answer, once it is whole.
    ///
    /// # Errors
    /// Why the connection is lost, a wrong answer included.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        requests: &Requests,
    ) -> Result<Option<Heard>, String> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err("the server ended the connection".to_owned()),
                Ok(count) => self.inbox.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if self.inbox.is_empty() {
            return Ok(None);
        }
        let Some((answer, whole)) = parse(&self.inbox)? else {
            return Ok(None);
        };
        let asked = self
            .asked
            .take()
            .ok_or("an answer came that nobody asked for")?;
        let heard = requests.check(asked, answer)?;
        if whole < self.inbox.len() {
            return Err("an answer is longer than it says".to_owned());
        }
        self.inbox.clear();
        Ok(Some(heard))
    }
}
