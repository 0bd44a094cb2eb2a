//! One connection: its upgrade, its frames, and the requests it waits for answers to.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::check::Expect;
use crate::frames::{ServerFrame, client_frame, opcode, server_frame};

/// The key of RFC 6455 section 1.3; its answer is known, so nothing is hashed here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const HEAD_BYTES_MAX: usize = 8192;
const PING_BYTES_MAX: usize = 125;
const MASK: [u8; 4] = [0x3b, 0x91, 0xc4, 0x6e];

/// The masked frame of a payload.
///
/// # Errors
/// A sentence for payloads that are too long.
pub fn request_frame(payload: &[u8]) -> Result<Vec<u8>, String> {
    client_frame(opcode::BINARY, payload, MASK)
}

/// A ping whose pong is as large as itself.
///
/// # Errors
/// None: it is short.
pub fn longest_ping() -> Result<Vec<u8>, String> {
    client_frame(opcode::PING, &[0; PING_BYTES_MAX], MASK)
}

/// The upgrade request, RFC 6455 section 4.1.
#[must_use]
pub fn upgrade_request(host: &str, path: &str, token: Option<&str>) -> String {
    let credentials = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{credentials}\r\n"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Upgrading,
    Open,
}

/// What reading a connection brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The upgrade was accepted.
    Opened,
    /// A right answer to the request that was intended (open loop) or sent at this time.
    Answer(u64),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    state: State,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    asked_ns: VecDeque<u64>,
    /// When the connection was begun.
    pub begun_ns: u64,
}

impl Connection {
    /// A connection under way; `upgrade` is sent once it is writable.
    #[must_use]
    pub fn new(stream: TcpStream, upgrade: String, begun_ns: u64) -> Self {
        Self {
            stream,
            state: State::Upgrading,
            inbox: Vec::new(),
            outbox: upgrade.into_bytes(),
            asked_ns: VecDeque::new(),
            begun_ns,
        }
    }

    /// The socket, to register it or to end it.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether the upgrade is done.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Requests without an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.asked_ns.len()
    }

    /// Sends a request that belongs to the time `at_ns`.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn ask(&mut self, frame: &[u8], at_ns: u64) -> Result<(), String> {
        self.asked_ns.push_back(at_ns);
        self.send(frame)
    }

    /// Sends bytes, or keeps what the socket does not take.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut sent = 0;
        if self.outbox.is_empty() {
            sent = write_some(&mut self.stream, bytes)?;
        }
        self.outbox.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends bytes whole, or not at all: how a peer sends that does not care. Whether it did.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn send_if_possible(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.flush()?;
        if !self.outbox.is_empty() {
            return Ok(false);
        }
        self.send(bytes)?;
        Ok(true)
    }

    /// Sends what was kept; call it when the socket is writable.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub fn flush(&mut self) -> Result<(), String> {
        if !self.outbox.is_empty() {
            let sent = write_some(&mut self.stream, &self.outbox)?;
            self.outbox.drain(..sent);
            if self.outbox.is_empty() {
                self.outbox = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads what is there and gives what it brought to `hear`. Edge-triggered: a read that fills
    /// less than `scratch` emptied the socket.
    ///
    /// # Errors
    /// Why the connection is lost, a wrong answer included.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        expect: &Expect,
        mut hear: impl FnMut(Heard),
    ) -> Result<(), String> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(self.lost("the server ended the connection")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.lost(&error.to_string())),
            };
            if self.inbox.is_empty() {
                let used = self.take(&scratch[..count], expect, &mut hear)?;
                self.inbox.extend_from_slice(&scratch[used..count]);
            } else {
                let mut data = std::mem::take(&mut self.inbox);
                data.extend_from_slice(&scratch[..count]);
                let used = self.take(&data, expect, &mut hear)?;
                data.drain(..used);
                if !data.is_empty() {
                    self.inbox = data;
                }
            }
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn lost(&self, why: &str) -> String {
        match self.state {
            State::Upgrading => format!("not upgraded: {why}"),
            State::Open => why.to_owned(),
        }
    }

    /// Takes whole things from `data`; how many bytes they were.
    fn take(
        &mut self,
        data: &[u8],
        expect: &Expect,
        tell: &mut impl FnMut(Heard),
    ) -> Result<usize, String> {
        let mut used = 0;
        if self.state == State::Upgrading {
            let Some(head) = upgraded(data)? else {
                return Ok(0);
            };
            used = head;
            self.state = State::Open;
            tell(Heard::Opened);
        }
        while let Some((frame, bytes)) = server_frame(&data[used..])? {
            used += bytes;
            match frame {
                ServerFrame::Message(answer) => {
                    let asked_ns = self
                        .asked_ns
                        .pop_front()
                        .ok_or("an answer came that nobody asked for")?;
                    expect.check(answer)?;
                    tell(Heard::Answer(asked_ns));
                }
                ServerFrame::Ping(payload) => {
                    let pong = client_frame(opcode::PONG, payload, MASK)?;
                    self.send(&pong)?;
                }
                ServerFrame::Pong => {}
                ServerFrame::Close(code) => return Err(format!("the server closed with {code}")),
            }
        }
        Ok(used)
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, String> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotConnected
                ) =>
            {
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(sent)
}

/// Where the upgrade's answer ends, once it is whole and right: 101 and the key's answer.
fn upgraded(data: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") else {
        if data.len() > HEAD_BYTES_MAX {
            return Err("not upgraded: the answer has no end".to_owned());
        }
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&data[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split_ascii_whitespace().nth(1) != Some("101") {
        return Err(format!("not upgraded: {status}"));
    }
    let accepted = lines.any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
        })
    });
    if !accepted {
        return Err("not upgraded: Sec-WebSocket-Accept is missing or wrong".to_owned());
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_upgrade_is_one() {
        let right = format!("HTTP/1.1 101 Go\r\nSEC-WebSocket-accept: {ACCEPT}\r\n\r\nrest");
        assert_eq!(upgraded(right.as_bytes()), Ok(Some(right.len() - 4)));
        for cut in 0..right.len() - 4 {
            assert_eq!(upgraded(&right.as_bytes()[..cut]), Ok(None));
        }
        let refused = upgraded(b"HTTP/1.1 503 Overloaded\r\n\r\n");
        assert_eq!(
            refused,
            Err("not upgraded: HTTP/1.1 503 Overloaded".to_owned())
        );
        assert!(upgraded(b"HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: x\r\n\r\n").is_err());
        assert!(upgraded(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn the_token_is_a_header() {
        let with = upgrade_request("h:1", "/p", Some("t"));
        assert!(with.contains("\r\nAuthorization: Bearer t\r\n") && with.ends_with("\r\n\r\n"));
        assert!(!upgrade_request("h:1", "/p", None).contains("Authorization"));
    }
}
