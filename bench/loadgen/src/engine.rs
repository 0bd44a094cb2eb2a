//! All connections on one epoll set, one thread. `turn` waits, reads, and gives notices.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};

use crate::check::{Expect, fixed_answer, otp_request, request};
use crate::connection::{Connection, Heard, longest_ping, request_frame, upgrade_request};
use crate::options::Options;

const SCRATCH_BYTES: usize = 65_536;
const EVENTS: usize = 1024;
/// Of each source address; below the ports that the kernel gives out.
const FIRST_PORT: u16 = 10_000;
/// The receive buffer of peers that do not read: the kernel's least.
const SLOW_RECEIVE_BYTES: usize = 1;
/// Their segments, small as on a real network. With loopback's large ones, and with more of them
/// acknowledged, the kernel gives the server megabytes of room for each peer.
const SLOW_SEGMENT_BYTES: u32 = 536;

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It was upgraded; begun at `begun_ns`.
    Opened {
        /// Which.
        index: usize,
        /// When `connect` was called.
        begun_ns: u64,
        /// When the answer was read.
        now_ns: u64,
    },
    /// A right answer.
    Answer {
        /// Which.
        index: usize,
        /// The time its request belongs to.
        asked_ns: u64,
        /// When the answer was read.
        now_ns: u64,
    },
    /// It is gone; the reason is in [`Engine::faults`].
    Lost {
        /// Which.
        index: usize,
        /// Whether it had been upgraded.
        was_open: bool,
        /// Requests that will have no answer.
        unanswered: usize,
    },
}

/// All connections.
pub struct Engine {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    slots: Vec<Option<Connection>>,
    notices: Vec<Notice>,
    started: Instant,
    host: String,
    path: String,
    target: SocketAddr,
    tokens: Vec<String>,
    expect: Expect,
    frame: Vec<u8>,
    source_base: u32,
    per_source: usize,
    reads: bool,
    /// Why connections were lost or answers wrong, and how often.
    pub faults: BTreeMap<String, u64>,
}

impl Engine {
    /// An engine without connections; `reads` is false for peers that never read.
    ///
    /// # Errors
    /// What the options lack.
    pub fn new(options: &Options, reads: bool) -> Result<Self, String> {
        let tokens = match &options.tokens {
            None => Vec::new(),
            Some(file) => {
                let text = fs::read_to_string(file).map_err(|error| {
                    format!("cannot read tokens from {}: {error}", file.display())
                })?;
                let all = text.split_ascii_whitespace().map(String::from);
                all.skip(options.skip_tokens)
                    .take(options.connections)
                    .collect()
            }
        };
        if options.tokens.is_some() && tokens.len() < options.connections {
            return Err(format!(
                "{} tokens are there for {} connections",
                tokens.len(),
                options.connections
            ));
        }
        let expect = if options.otp {
            Expect::Otp
        } else {
            Expect::Fixed(fixed_answer(options.answer_bytes)?)
        };
        let frame = match (options.otp, reads) {
            (_, false) => longest_ping()?.repeat(options.batch),
            (true, true) => request_frame(&otp_request())?,
            (false, true) => request_frame(&request(options.request_bytes)?)?,
        };
        Ok(Self {
            poll: Poll::new().map_err(|error| format!("no epoll set: {error}"))?,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES],
            slots: std::iter::repeat_with(|| None)
                .take(options.connections)
                .collect(),
            notices: Vec::new(),
            started: Instant::now(),
            host: options.target.to_string(),
            path: options.path.clone(),
            target: options.target,
            tokens,
            expect,
            frame,
            source_base: options.source_base,
            per_source: options.per_source,
            reads,
            faults: BTreeMap::new(),
        })
    }

    /// Nanoseconds since the engine was made.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How many connections there may be.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there may be none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many are upgraded.
    #[must_use]
    pub fn open(&self) -> usize {
        self.slots
            .iter()
            .flatten()
            .filter(|connection| connection.is_open())
            .count()
    }

    /// Requests without an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.slots
            .iter()
            .flatten()
            .map(Connection::unanswered)
            .sum()
    }

    /// Begins connection `index`, from source address `generation` further on than the last time.
    ///
    /// A fault is a [`Notice::Lost`] of the next turn.
    pub fn connect(&mut self, index: usize, generation: usize) {
        let begun_ns = self.now_ns();
        match self.begin(index, generation) {
            Ok(stream) => {
                let token = self.tokens.get(index).map(String::as_str);
                let upgrade = upgrade_request(&self.host, &self.path, token);
                self.slots[index] = Some(Connection::new(stream, upgrade, begun_ns));
            }
            Err(error) => {
                let hint = match error.raw_os_error() {
                    Some(24) => " (raise the limit: ulimit -n)",
                    Some(99) => " (no local ports left: lower --per-source)",
                    _ => "",
                };
                self.fault(format!("cannot connect: {error}{hint}"));
                self.notices.push(Notice::Lost {
                    index,
                    was_open: false,
                    unanswered: 0,
                });
            }
        }
    }

    fn begin(&self, index: usize, generation: usize) -> io::Result<TcpStream> {
        let sources = self.len().div_ceil(self.per_source);
        let number = index / self.per_source + generation * sources;
        let number = self.source_base + u32::try_from(number).unwrap_or(0);
        let source = u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number % 0x00fe_0000;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if !self.reads {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BYTES)?;
            socket.set_tcp_mss(SLOW_SEGMENT_BYTES)?;
        }
        // Left to the kernel, the search for a free port is what a storm would measure.
        let source = Ipv4Addr::from(source);
        let port = u16::try_from(index % self.per_source).map_or(0, |n| FIRST_PORT.wrapping_add(n));
        if socket
            .bind(&SocketAddrV4::new(source, port).into())
            .is_err()
        {
            socket.bind(&SocketAddrV4::new(source, 0).into())?;
        }
        match socket.connect(&self.target.into()) {
            Err(error) if error.raw_os_error() != Some(115) => return Err(error), // EINPROGRESS
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        Ok(stream)
    }

    /// Sends a request on `index` that belongs to `at_ns`; whether that was possible.
    pub fn ask(&mut self, index: usize, at_ns: u64) -> bool {
        let Some(connection) = self.slots[index].as_mut() else {
            return false;
        };
        match connection.ask(&self.frame, at_ns) {
            Ok(()) => true,
            Err(why) => {
                self.lose(index, why);
                false
            }
        }
    }

    /// Sends a request on `index` if the socket takes it, as a peer that reads nothing.
    pub fn push(&mut self, index: usize) -> bool {
        let Some(connection) = self.slots[index].as_mut() else {
            return false;
        };
        connection
            .send_if_possible(&self.frame)
            .unwrap_or_else(|why| {
                self.lose(index, why);
                false
            })
    }

    /// Whether connection `index` is there.
    #[must_use]
    pub fn is_held(&self, index: usize) -> bool {
        self.slots[index].is_some()
    }

    /// Ends a connection at once, without a close frame and without `TIME_WAIT`.
    pub fn drop_now(&mut self, index: usize) {
        if let Some(mut connection) = self.slots[index].take() {
            let stream = connection.stream();
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            let _ = self.poll.registry().deregister(stream);
        }
    }

    fn lose(&mut self, index: usize, why: String) {
        let Some(mut connection) = self.slots[index].take() else {
            return;
        };
        let _ = self.poll.registry().deregister(connection.stream());
        self.notices.push(Notice::Lost {
            index,
            was_open: connection.is_open(),
            unanswered: connection.unanswered(),
        });
        self.fault(why);
    }

    /// Counts a fault.
    pub fn fault(&mut self, why: String) {
        *self.faults.entry(why).or_default() += 1;
    }

    /// Waits at most `wait`, reads, and gives what happened. Give the list back with
    /// [`Engine::reuse`].
    ///
    /// # Errors
    /// The epoll set failed.
    pub fn turn(&mut self, wait: Duration) -> Result<Vec<Notice>, String> {
        if self.notices.is_empty() {
            match self.poll.poll(&mut self.events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(format!("epoll: {error}"));
                }
                _ => {}
            }
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            for event in &events {
                self.serve(event.token().0, event.is_writable(), event.is_error());
            }
            self.events = events;
        }
        Ok(std::mem::take(&mut self.notices))
    }

    /// Takes an emptied list back, so that none is made every turn.
    pub fn reuse(&mut self, mut notices: Vec<Notice>) {
        if self.notices.is_empty() {
            notices.clear();
            self.notices = notices;
        }
    }

    fn serve(&mut self, index: usize, writable: bool, error: bool) {
        let Some(connection) = self.slots[index].as_mut() else {
            return;
        };
        let mut outcome = Ok(());
        if writable {
            outcome = connection.flush();
        }
        if outcome.is_ok() && (self.reads || !connection.is_open()) {
            let (started, begun_ns) = (self.started, connection.begun_ns);
            let notices = &mut self.notices;
            outcome = connection.read(&mut self.scratch, &self.expect, |heard| {
                let now_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                notices.push(match heard {
                    Heard::Opened => Notice::Opened {
                        index,
                        begun_ns,
                        now_ns,
                    },
                    Heard::Answer(asked_ns) => Notice::Answer {
                        index,
                        asked_ns,
                        now_ns,
                    },
                });
            });
        } else if outcome.is_ok() && error {
            outcome = Err("reset by the server".to_owned());
        }
        if let Err(why) = outcome {
            self.lose(index, why);
        }
    }
}
