//! One connection, sans-I/O. Bytes in, requests out, answers in, bytes out; `now` is an argument,
//! in milliseconds of any steady clock.
//!
//! | phase       | what is heard                       | left when                              |
//! |-------------|-------------------------------------|----------------------------------------|
//! | head        | a request's head                    | it is whole, or refused                |
//! | body        | its body                            | it is whole, too large, or refused     |
//! | answering   | nothing: the request is out         | [`Session::answer`], its deadline      |
//! | closing     | bytes are dropped                   | all is sent                            |
//! | linger      | bytes are dropped                   | the peer's end of stream, a deadline   |
//! | handed over | nothing: somebody else listens      | never                                  |
//! | over        | nothing                             | never: the socket can go               |
//!
//! A head is read only once all of the answer before it was taken by the socket: a peer that does
//! not read is not heard either, and a handover owes nothing.
//!
//! In `linger` everything was sent that will be, and the sending side is to be shut
//! ([`Session::wants_shutdown`]): closing the socket at once would reset it while the peer's bytes
//! are unread, and the peer might never see its answer.
//!
//! An idle connection owns no memory besides this struct.

use std::mem::MaybeUninit;

use super::answer::{Answer, Form};
use super::chunks::{Bounds, Chunks, Progress};
use super::date::Date;
use super::head::{self, Body, FIELDS_MAX, Head};
use super::offence::{Offence, is_method};
use super::options::Options;
use super::request::Request;
use super::section::Section;
use crate::outbox::{Outbox, Spare};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const NO_HTTP: Answer<'static> = Answer {
    status: 500,
    content_type: "",
    headers: &[],
    body: b"",
};

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A request for one of the routes: answer it with [`Session::answer`].
    Request(Request),
    /// A request for something else: all bytes from its first one on. No event comes after it.
    Handover(Vec<u8>),
}

/// What all connections share.
#[derive(Debug)]
pub struct Context {
    /// Bounds, deadlines and routes.
    pub options: Options,
    /// The second in which answers are given.
    pub date: Date,
    /// What happened, until somebody takes it.
    pub events: Vec<Event>,
    /// Panics at the next byte.
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl Context {
    /// With nothing in it.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            date: Date::new(0),
            events: Vec::new(),
            #[cfg(test)]
            panics: false,
        }
    }

    #[cfg(test)]
    fn panic_if_asked(&self) {
        assert!(!self.panics, "on purpose, by a test");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Answering,
    Closing,
    Linger,
    HandedOver,
    Over,
}

#[derive(Debug)]
enum Rest {
    Length(usize),
    Chunked(Chunks),
}

/// A request whose body comes.
#[derive(Debug)]
struct Pending {
    request: Request,
    body: Vec<u8>,
    rest: Rest,
}

/// One connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of their own, each soon true for good"
)]
pub struct Session {
    phase: Phase,
    /// No request is read after this one.
    last: bool,
    /// The peer will send nothing more.
    ended: bool,
    shut: bool,
    cut: bool,
    to_head: bool,
    number: u32,
    scan: Section,
    /// Received and not done with: a head's beginning, or what came behind a request.
    held: Vec<u8>,
    pending: Option<Box<Pending>>,
    outbox: Outbox,
    deadline: u64,
}

impl Session {
    /// A connection that has just begun.
    #[must_use]
    pub fn new(now: u64, options: &Options) -> Self {
        Self {
            phase: Phase::Head,
            last: false,
            ended: false,
            shut: false,
            cut: false,
            to_head: false,
            number: 0,
            scan: Section::default(),
            held: Vec::new(),
            pending: None,
            outbox: Outbox::default(),
            deadline: now.saturating_add(options.head_ms),
        }
    }

    /// Takes bytes of the peer. Those that cannot be read yet are kept: the caller reads no more
    /// while [`wants_data`](Self::wants_data) says no, and so bounds them.
    pub fn receive_data(&mut self, data: &[u8], now: u64, context: &mut Context) {
        #[cfg(test)]
        context.panic_if_asked();
        if !self.hears() {
            return;
        }
        if self.held.is_empty() {
            let used = self.read(data, now, context);
            if self.hears() {
                self.held.extend_from_slice(&data[used..]);
            }
        } else {
            self.held.extend_from_slice(data);
            self.read_held(now, context);
        }
    }

    /// The peer will send nothing more; it may still read. Idempotent.
    pub fn receive_eof(&mut self, now: u64, context: &mut Context) {
        self.ended = true;
        match self.phase {
            Phase::Body => self.end_of_stream(now, context),
            Phase::Head if self.outbox.waiting().is_empty() => self.end_of_stream(now, context),
            Phase::Closing if self.outbox.waiting().is_empty() => self.over(),
            Phase::Linger => self.over(),
            _ => {}
        }
    }

    /// The connection broke.
    pub fn lost(&mut self) {
        if self.phase != Phase::HandedOver {
            self.over();
        }
    }

    /// Whether bytes of the peer are to be read.
    #[must_use]
    pub fn wants_data(&self) -> bool {
        let wanted = match self.phase {
            Phase::Head => self.outbox.waiting().is_empty(),
            Phase::Body | Phase::Closing | Phase::Linger => true,
            Phase::Answering | Phase::HandedOver | Phase::Over => false,
        };
        wanted && !self.ended
    }

    /// Queues the answer to the request of this number; nothing happens where none is waited for.
    ///
    /// False: it cannot be said in HTTP, for a header that the session says itself or that holds a
    /// line end, a body where none may be, or no status of an answer. The peer was told 500.
    pub fn answer(
        &mut self,
        number: u32,
        answer: &Answer<'_>,
        now: u64,
        context: &Context,
    ) -> bool {
        if self.phase != Phase::Answering || number != self.number {
            return true;
        }
        let is_http = answer.is_http();
        let answer = if is_http { answer } else { &NO_HTTP };
        self.last |= !is_http || answer.closes();
        let form = Form {
            date: &context.date,
            last: self.last,
            to_head: self.to_head,
        };
        answer.write(self.outbox.end(), form);
        if self.last {
            self.close(now, &context.options);
        } else {
            self.phase = Phase::Head;
        }
        is_http
    }

    /// Borrows a buffer for what is to be sent, until [`give_back`](Self::give_back).
    pub fn borrow(&mut self, spare: &mut Spare) {
        self.outbox.borrow(spare);
    }

    /// Gives the buffer back, unless something waits in it.
    pub fn give_back(&mut self, spare: &mut Spare) {
        self.outbox.give_back(spare);
    }

    /// Bytes to send next; then call [`sent`](Self::sent).
    #[must_use]
    pub fn data_to_send(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Notes how many bytes of [`data_to_send`](Self::data_to_send) the peer's socket took. After
    /// the last of an answer, what the peer sent behind its request is read.
    pub fn sent(&mut self, size: usize, now: u64, context: &mut Context) {
        if self.outbox.waiting().is_empty() {
            return;
        }
        self.outbox.sent(size, now, context.options.write_ms);
        if !self.outbox.waiting().is_empty() {
            return;
        }
        match self.phase {
            Phase::Closing if self.ended => self.over(),
            Phase::Closing => self.linger(now, &context.options),
            Phase::Head => {
                self.deadline = now.saturating_add(context.options.idle_ms);
                self.read_held(now, context);
                if self.ended && self.phase == Phase::Head {
                    self.end_of_stream(now, context);
                }
            }
            _ => {}
        }
    }

    /// Answers what has come, and ends: at once where nothing has and nothing is owed.
    pub fn drain(&mut self, now: u64, context: &Context) {
        self.last = true;
        if self.phase != Phase::Head || !self.scan.is_new() || !self.held.is_empty() {
            return;
        }
        if self.outbox.waiting().is_empty() {
            self.over();
        } else {
            self.close(now, &context.options);
        }
    }

    /// Whether the sending side is to be shut now. Says so once.
    pub fn wants_shutdown(&mut self) -> bool {
        let wanted = !self.shut && self.phase == Phase::Linger;
        self.shut |= wanted;
        wanted
    }

    /// Whether somebody else has the connection.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.phase == Phase::HandedOver
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
            Phase::Over | Phase::HandedOver => None,
            Phase::Head if !self.outbox.waiting().is_empty() => Some(self.outbox.deadline()),
            _ => Some(self.deadline.min(self.outbox.deadline())),
        }
    }

    /// Ends a connection whose deadline has come. Calling too early does nothing.
    pub fn handle_timeout(&mut self, now: u64) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.over();
        }
    }

    /// Memory owned besides the struct.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |pending| {
            size_of::<Pending>() + pending.body.capacity() + pending.request.held_bytes()
        });
        self.held.capacity() + pending + self.outbox.held_bytes()
    }

    fn hears(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Body | Phase::Answering)
    }

    fn read_held(&mut self, now: u64, context: &mut Context) {
        let mut held = std::mem::take(&mut self.held);
        let used = self.read(&held, now, context);
        if self.hears() && used < held.len() {
            held.drain(..used);
            self.held = held;
        }
    }

    /// Reads what can be: how many bytes are done with.
    fn read(&mut self, data: &[u8], now: u64, context: &mut Context) -> usize {
        let mut at = 0;
        while at < data.len() {
            let rest = &data[at..];
            let used = match self.phase {
                Phase::Head if self.outbox.waiting().is_empty() => {
                    self.read_head(rest, now, context)
                }
                Phase::Body => self.read_body(rest, context),
                _ => break,
            };
            match used {
                Ok(0) => break,
                Ok(used) => at += used,
                Err(offence) => {
                    self.refuse(offence, now, context);
                    break;
                }
            }
        }
        at
    }

    /// Reads a head if it is whole: its size.
    fn read_head(
        &mut self,
        data: &[u8],
        now: u64,
        context: &mut Context,
    ) -> Result<usize, Offence> {
        let options = &context.options;
        if self.scan.is_new() {
            self.deadline = self.deadline.min(now.saturating_add(options.head_ms));
            // What begins no request is not waited for; RFC 9112 would allow an empty line.
            if !is_method(&data[..1]) && data[0] != b'\n' {
                return Err(Offence::RequestLine);
            }
        }
        let Some(size) = self.scan.end(data, options.head_bytes_max)? else {
            return Ok(0);
        };
        self.scan = Section::default();
        let bytes = &data[..size];
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let found = match head::parse(bytes, &mut room) {
            Err(_) if head::is_http2(bytes) => None,
            Err(offence) => return Err(offence),
            Ok(head) if head.upgrades => None,
            Ok(head) => {
                let found = options.routes.find(head.method, head.path);
                found.map(|(route, parameters)| (head, route, parameters))
            }
        };
        let Some((head, route, parameters)) = found else {
            self.phase = Phase::HandedOver;
            context.events.push(Event::Handover(data.to_vec()));
            return Ok(0);
        };
        self.number = self.number.wrapping_add(1);
        let request = head.request(self.number, route, &parameters);
        self.deadline = now.saturating_add(options.request_ms);
        self.begin(&head, request, context);
        Ok(size)
    }

    fn begin(&mut self, head: &Head<'_, '_>, request: Request, context: &mut Context) {
        self.to_head = head.method == "HEAD";
        self.last |= head.last;
        let bytes_max = context.options.body_bytes_max;
        let rest = match head.body {
            Body::Length(0) => return self.give_up(request, context),
            Body::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= bytes_max => Rest::Length(length),
                _ => return self.give_up_without_body(request, context),
            },
            Body::Chunked => Rest::Chunked(Chunks::new()),
        };
        if head.expects {
            self.outbox.end().extend_from_slice(CONTINUE);
        }
        self.phase = Phase::Body;
        let body = Vec::new();
        self.pending = Some(Box::new(Pending {
            request,
            body,
            rest,
        }));
    }

    /// Reads on in the body: how many bytes are done with.
    fn read_body(&mut self, data: &[u8], context: &mut Context) -> Result<usize, Offence> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(0);
        };
        let (used, progress) = match &mut pending.rest {
            Rest::Length(left) => {
                let take = (*left).min(data.len());
                pending.body.extend_from_slice(&data[..take]);
                *left -= take;
                let whole = *left == 0;
                (
                    take,
                    if whole {
                        Progress::Whole
                    } else {
                        Progress::More
                    },
                )
            }
            Rest::Chunked(chunks) => {
                let bounds = Bounds {
                    body_bytes_max: context.options.body_bytes_max,
                    trailer_bytes_max: context.options.head_bytes_max,
                };
                chunks.read(data, &mut pending.body, bounds)?
            }
        };
        let Pending {
            mut request, body, ..
        } = match progress {
            Progress::More => {
                self.pending = Some(pending);
                return Ok(used);
            }
            Progress::Whole | Progress::TooLarge => *pending,
        };
        if progress == Progress::Whole {
            request.body = Some(body);
            self.give_up(request, context);
        } else {
            self.give_up_without_body(request, context);
        }
        Ok(used)
    }

    fn give_up(&mut self, request: Request, context: &mut Context) {
        self.phase = Phase::Answering;
        context.events.push(Event::Request(request));
    }

    /// Of a body that is too large nothing more is read, so nothing can come after it.
    fn give_up_without_body(&mut self, mut request: Request, context: &mut Context) {
        request.body = None;
        self.last = true;
        self.give_up(request, context);
    }

    fn end_of_stream(&mut self, now: u64, context: &Context) {
        if self.phase == Phase::Head && self.scan.is_new() {
            self.over();
        } else {
            self.refuse(Offence::CutShort, now, context);
        }
    }

    fn refuse(&mut self, offence: Offence, now: u64, context: &Context) {
        offence.write_answer(self.outbox.end(), &context.date);
        self.close(now, &context.options);
    }

    /// Reads no more, and ends once all is sent.
    fn close(&mut self, now: u64, options: &Options) {
        self.last = true;
        self.release();
        if self.outbox.waiting().is_empty() {
            self.linger(now, options);
        } else {
            self.phase = Phase::Closing;
            let within_ms = options.write_ms.saturating_add(options.close_ms);
            self.deadline = now.saturating_add(within_ms);
        }
    }

    fn linger(&mut self, now: u64, options: &Options) {
        self.phase = Phase::Linger;
        self.deadline = now.saturating_add(options.close_ms);
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.cut |= !self.outbox.waiting().is_empty();
        self.release();
        self.outbox = Outbox::default();
    }

    /// Frees what receiving needed.
    fn release(&mut self) {
        self.held = Vec::new();
        self.pending = None;
    }
}
