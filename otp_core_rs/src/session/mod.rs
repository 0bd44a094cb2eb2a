//! One connection, sans-I/O: WebSocket, `HapticFrame`s and deadlines. Bytes in, events out, bytes
//! out; `now` is an argument, in milliseconds of any steady clock.
//!
//! | phase    | what is heard                     | left when                                     |
//! |----------|-----------------------------------|-----------------------------------------------|
//! | head     | the upgrade request, 8192 bytes   | it is whole: an upgrade event, or an HTTP error |
//! | deciding | bytes are kept, 8192 at most      | `accept`, `refuse`, the upgrade's deadline    |
//! | open     | messages; pings are answered      | a close frame of either side, a fault         |
//! | closing  | only the peer's close frame       | it, or the close's deadline                   |
//! | linger   | nothing: bytes are dropped        | the peer's end of stream, the close's deadline |
//! | over     | nothing                           | never: the socket can go                      |
//!
//! In `linger` everything was queued that will be; once it is sent the sending side is to be shut
//! ([`Session::wants_shutdown`]). Closing the socket at once would reset it while the peer's bytes
//! are unread, and the peer might never see why.
//!
//! The events go into a vector the caller lends, so that an idle connection owns none; the same
//! for the options, and for a buffer of answers ([`Session::borrow`]). An idle connection owns no
//! memory besides this struct.

mod budget;
pub mod ending;
pub mod options;
mod receiving;

use budget::Budget;
pub use ending::{Ending, Kind};
pub use options::{SessionKind, SessionOptions};

use crate::haptic::codec::{Frame, FrameDecoder};
use crate::outbox::Outbox;
pub use crate::outbox::Spare;
use crate::ws::connection::Connection;
use crate::ws::frame::{self, Opcode};
use crate::ws::handshake::{self, Request};

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It asks to come in: answer with [`Session::accept`] or [`Session::refuse`].
    Upgrade(Box<Request>),
    /// A device's frame.
    Frame(Frame),
    /// It ended before it asked to come in: no upgrade, or none in time. No event comes after it.
    Unopened,
    /// It ended after its upgrade event. Comes once; no event comes after it.
    Closed(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Deciding,
    Open,
    Closing(Ending),
    Linger,
    Over,
}

/// What is known before the WebSocket is open.
#[derive(Debug, Default)]
struct Opening {
    head: Vec<u8>,
    accept: String,
    close: Option<(u16, String, u64)>,
}

/// A frame that is half received.
#[derive(Debug)]
struct BegunFrame {
    decoder: FrameDecoder,
    deadline: u64,
}

/// A message that is echoed once it is whole.
#[derive(Debug, Default)]
struct Echo(Vec<u8>);

/// What receiving has begun and not finished; no phase has two of them.
#[derive(Debug)]
enum Begun {
    Nothing,
    Opening(Box<Opening>),
    Frame(Box<BegunFrame>),
    Echo(Box<Echo>),
}

/// Sizes, for tests and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Memory owned besides the struct.
    pub held_bytes: usize,
    /// Bytes that wait to be sent.
    pub waiting_bytes: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    shut: bool,
    cut: bool,
    ping_unanswered: bool,
    misses: u8,
    begun: Begun,
    ws: Connection,
    outbox: Outbox,
    budget: Budget,
    /// Of the upgrade or the close; in `open` the next ping.
    deadline: u64,
}

impl Session {
    /// A connection that has just begun.
    #[must_use]
    pub fn new(now: u64, options: &SessionOptions) -> Self {
        Self {
            phase: Phase::Head,
            shut: false,
            cut: false,
            ping_unanswered: false,
            misses: 0,
            begun: Begun::Nothing,
            ws: Connection::default(),
            outbox: Outbox::default(),
            budget: Budget::default(),
            deadline: now.saturating_add(options.upgrade_ms),
        }
    }

    /// Lets the connection in. Nothing happens unless an upgrade is being decided.
    pub fn accept(&mut self, now: u64, options: &SessionOptions, events: &mut Vec<Event>) {
        if self.phase != Phase::Deciding {
            return;
        }
        let Opening {
            mut head,
            accept,
            close,
        } = self.take_opening();
        let response = handshake::accept_response(&accept);
        self.outbox.end().extend_from_slice(response.as_bytes());
        self.phase = Phase::Open;
        self.deadline = now.saturating_add(options.ping_interval_ms);
        if let Some((code, reason, within_ms)) = close {
            self.close(code, &reason, within_ms, now);
        } else if !head.is_empty() {
            self.receive_messages(&mut head, now, options, events);
        }
    }

    /// Answers the upgrade with this HTTP response instead, and ends the connection.
    ///
    /// Nothing happens, and false says so, unless an upgrade is being decided.
    pub fn refuse(&mut self, response: &[u8], now: u64, options: &SessionOptions) -> bool {
        let deciding = self.phase == Phase::Deciding;
        if deciding {
            self.end_http(response, now, options);
        }
        deciding
    }

    /// Queues a binary message. A peer with too much unread is closed as a slow reader; nothing
    /// happens unless the connection is open.
    pub fn send(
        &mut self,
        message: &[u8],
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        if self.phase == Phase::Open && self.has_room(message.len(), now, options, events) {
            frame::write_frame(self.outbox.end(), Opcode::Binary, message);
        }
    }

    /// Closes after what is queued, all of it within so many milliseconds. The first close stands;
    /// a later one can only hasten it. A connection that has not asked to come in ends without a
    /// word.
    pub fn close(&mut self, code: u16, reason: &str, within_ms: u64, now: u64) {
        let deadline = now.saturating_add(within_ms);
        match self.phase {
            Phase::Open => {
                frame::write_close(self.outbox.end(), code, reason);
                self.phase = Phase::Closing(Ending::Asked);
                self.deadline = deadline;
                self.release();
            }
            Phase::Deciding => {
                if let Begun::Opening(opening) = &mut self.begun {
                    let close = (code, reason.to_owned(), within_ms);
                    opening.close.get_or_insert(close);
                }
            }
            Phase::Closing(_) => self.deadline = self.deadline.min(deadline),
            Phase::Head => self.over(),
            _ => {}
        }
    }

    /// Borrows the buffer for answers, where this session has none of its own. What is not
    /// borrowed is allocated for each answer.
    pub fn borrow(&mut self, spare: &mut Spare) {
        self.outbox.borrow(spare);
    }

    /// Gives the buffer back unless something waits in it, as must be done after each borrowing.
    pub fn give_back(&mut self, spare: &mut Spare) {
        self.outbox.give_back(spare);
    }

    /// Bytes to send next; then call [`sent`](Self::sent).
    #[must_use]
    pub fn data_to_send(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Notes how many bytes of [`data_to_send`](Self::data_to_send) the peer's socket took.
    pub fn sent(&mut self, size: usize, now: u64, options: &SessionOptions) {
        self.outbox.sent(size, now, options.write_ms);
    }

    /// Whether the sending side is to be shut now. Says so once.
    pub fn wants_shutdown(&mut self) -> bool {
        let wanted = !self.shut && self.phase == Phase::Linger && self.outbox.waiting().is_empty();
        self.shut |= wanted;
        wanted
    }

    /// Whether the socket can go.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it is over and bytes were left that the peer did not take: the socket is then to be
    /// reset, since its end would look like a whole one.
    #[must_use]
    pub const fn was_cut(&self) -> bool {
        self.cut
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Over => None,
            Phase::Open => Some(
                self.deadline
                    .min(self.frame_deadline())
                    .min(self.outbox.deadline()),
            ),
            _ => Some(self.deadline),
        }
    }

    /// Does what is due. Calling too early does nothing.
    pub fn handle_timeout(&mut self, now: u64, options: &SessionOptions, events: &mut Vec<Event>) {
        match self.phase {
            Phase::Over => {}
            Phase::Open => self.open_timeout(now, options, events),
            _ if now < self.deadline => {}
            Phase::Head => {
                self.over();
                events.push(Event::Unopened);
            }
            Phase::Deciding => {
                self.over();
                events.push(Event::Closed(Ending::Peer));
            }
            Phase::Closing(ending) => {
                self.over();
                events.push(Event::Closed(ending));
            }
            Phase::Linger => self.over(),
        }
    }

    /// The peer will send nothing more, or the connection broke. Idempotent.
    pub fn receive_eof(&mut self, events: &mut Vec<Event>) {
        match self.phase {
            Phase::Head => events.push(Event::Unopened),
            Phase::Deciding | Phase::Open => events.push(Event::Closed(Ending::Peer)),
            Phase::Closing(ending) => events.push(Event::Closed(ending)),
            Phase::Linger | Phase::Over => {}
        }
        self.over();
    }

    /// What this connection holds.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let begun = match &self.begun {
            Begun::Nothing => 0,
            Begun::Opening(opening) => {
                size_of::<Opening>() + opening.head.capacity() + opening.accept.capacity()
            }
            Begun::Frame(frame) => size_of::<BegunFrame>() + frame.decoder.pending_bytes(),
            Begun::Echo(echo) => size_of::<Echo>() + echo.0.capacity(),
        };
        Statistics {
            held_bytes: begun + self.outbox.held_bytes(),
            waiting_bytes: self.outbox.waiting().len(),
        }
    }

    fn open_timeout(&mut self, now: u64, options: &SessionOptions, events: &mut Vec<Event>) {
        if now >= self.outbox.deadline() {
            self.over();
            events.push(Event::Closed(Ending::Core(Kind::SlowReader)));
            return;
        }
        if now >= self.frame_deadline() {
            self.fail(Kind::FrameStalled, now, options, events);
            return;
        }
        if now < self.deadline {
            return;
        }
        self.misses = if self.ping_unanswered {
            self.misses.saturating_add(1)
        } else {
            0
        };
        if self.misses >= options.ping_misses {
            self.close_with(Kind::PingTimeout, now, options);
        } else if self.has_room(0, now, options, events) {
            frame::write_frame(self.outbox.end(), Opcode::Ping, b"");
            self.ping_unanswered = true;
            self.deadline = now.saturating_add(options.ping_interval_ms);
        }
    }

    /// Whether so much may be queued; if not, the peer was closed as a slow reader.
    fn has_room(
        &mut self,
        bytes: usize,
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) -> bool {
        let room = options.outbox_bytes_max;
        if self.outbox.waiting().len() + bytes + frame::HEADER_BYTES_MAX <= room {
            return true;
        }
        self.fail(Kind::SlowReader, now, options, events);
        false
    }

    /// Closes and goes on listening for the peer's close frame.
    fn close_with(&mut self, kind: Kind, now: u64, options: &SessionOptions) {
        self.close(kind.close_code(), kind.token(), options.close_ms, now);
        self.phase = Phase::Closing(Ending::Core(kind));
    }

    /// Closes and listens no more: what the peer sends now has no meaning.
    fn fail(&mut self, kind: Kind, now: u64, options: &SessionOptions, events: &mut Vec<Event>) {
        frame::write_close(self.outbox.end(), kind.close_code(), kind.token());
        self.linger(now, options);
        events.push(Event::Closed(Ending::Core(kind)));
    }

    fn end_http(&mut self, response: &[u8], now: u64, options: &SessionOptions) {
        self.outbox.end().extend_from_slice(response);
        self.linger(now, options);
    }

    /// A close that is under way gains no time by it.
    fn linger(&mut self, now: u64, options: &SessionOptions) {
        if !matches!(self.phase, Phase::Closing(_)) {
            self.deadline = now.saturating_add(options.close_ms);
        }
        self.phase = Phase::Linger;
        self.release();
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.cut |= !self.outbox.waiting().is_empty();
        self.release();
        self.outbox = Outbox::default();
    }

    /// Frees what receiving needed.
    fn release(&mut self) {
        self.begun = Begun::Nothing;
    }

    /// When the frame that is half received has to be whole.
    fn frame_deadline(&self) -> u64 {
        match &self.begun {
            Begun::Frame(frame) => frame.deadline,
            _ => u64::MAX,
        }
    }

    /// The upgrade's first bytes, to add to them.
    fn take_opening(&mut self) -> Opening {
        match std::mem::replace(&mut self.begun, Begun::Nothing) {
            Begun::Opening(opening) => *opening,
            _ => Opening::default(),
        }
    }
}
