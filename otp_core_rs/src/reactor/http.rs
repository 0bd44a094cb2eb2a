//! HTTP connections: requests in, answers out; what asks for anything else is handed over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::fd::{OwnedFd, RawFd};

use super::crowd::{Crowd, CrowdRules};
use super::driver::{Driver, EntryOf, Gone, Keeper, Opened, STEPS_MAX};
use super::listener::Listener;
use super::table::Id;
use super::wire::Talk;
use crate::http::{Answer, Context, Event, Options, Request, Session};
use crate::outbox::Spare;

impl Talk for Session {
    type Context = Context;

    fn receive_data(&mut self, data: &mut [u8], now: u64, context: &mut Context) {
        self.receive_data(data, now, context);
    }

    fn receive_eof(&mut self, now: u64, context: &mut Context) {
        self.receive_eof(now, context);
    }

    fn lost(&mut self, _context: &mut Context) {
        self.lost();
    }

    fn handle_timeout(&mut self, now: u64, _context: &mut Context) {
        self.handle_timeout(now);
    }

    fn borrow(&mut self, spare: &mut Spare) {
        self.borrow(spare);
    }

    fn give_back(&mut self, spare: &mut Spare) {
        self.give_back(spare);
    }

    fn data_to_send(&self) -> &[u8] {
        self.data_to_send()
    }

    fn sent(&mut self, size: usize, now: u64, context: &mut Context) {
        self.sent(size, now, context);
    }

    fn wants_data(&self) -> bool {
        self.wants_data()
    }

    fn wants_shutdown(&mut self) -> bool {
        self.wants_shutdown()
    }

    fn is_handed_over(&self) -> bool {
        self.is_handed_over()
    }

    fn is_over(&self) -> bool {
        self.is_over()
    }

    fn was_cut(&self) -> bool {
        self.was_cut()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.next_deadline()
    }
}

/// A request, and whose it is.
#[derive(Debug)]
pub struct Asked {
    /// Its connection.
    pub id: Id,
    /// The address that came from.
    pub peer: Option<IpAddr>,
    /// What is asked.
    pub request: Request,
}

/// A connection that somebody else is to serve from here on.
#[derive(Debug)]
pub struct Handover {
    /// Non-blocking, and in no set any more.
    pub socket: OwnedFd,
    /// What was read of it and not answered: a request, from its first byte on.
    pub data: Vec<u8>,
    /// The address it came from.
    pub peer: Option<IpAddr>,
}

/// What happened since the poll before.
#[derive(Debug, Default)]
pub struct HttpBatch {
    /// To be answered with [`HttpReactor::send_many`]; at most one of each connection.
    pub requests: Vec<Asked>,
    /// Connections that were not let in, for there are as many as may be.
    pub refused: usize,
    /// Connections lost to a panic, a bug of ours.
    pub panics: usize,
    /// Why accepting pauses: the system's error number, where it ran out of something.
    pub starved: Option<i32>,
    /// Whether work was left for the next poll.
    pub more: bool,
}

/// Who may come in, and what the caller is told.
#[derive(Debug)]
struct Clients {
    crowd: Crowd,
    batch: HttpBatch,
    /// Of the connection that is worked on.
    handed: Option<Vec<u8>>,
    handovers: Vec<Handover>,
}

impl Keeper for Clients {
    type Session = Session;
    /// The peer's address.
    type Note = Option<IpAddr>;
    /// So much a peer can have waiting here behind a request that is not answered.
    const RECEIVE_BYTES: usize = 16_384;

    fn open(
        &mut self,
        _id: Id,
        peer: Option<IpAddr>,
        now: u64,
        context: &Context,
    ) -> Option<Opened<Session, Self::Note>> {
        if !self.crowd.enter(peer) {
            self.batch.refused += 1;
            return None;
        }
        Some(Opened {
            session: Session::new(now, &context.options),
            note: peer,
            goes: None,
        })
    }

    fn hear(&mut self, id: Id, entry: &mut EntryOf<Self>, context: &mut Context, _open: usize) {
        for event in context.events.drain(..) {
            match event {
                Event::Request(request) => self.batch.requests.push(Asked {
                    id,
                    peer: entry.note,
                    request,
                }),
                Event::Handover(data) => self.handed = Some(data),
            }
        }
    }

    fn gone(&mut self, _id: Id, entry: EntryOf<Self>, why: Gone, context: &mut Context) {
        self.crowd.leave(entry.note);
        match why {
            Gone::Over | Gone::Displaced => {}
            Gone::HandedOver => self.handovers.push(Handover {
                socket: entry.socket,
                data: self.handed.take().unwrap_or_default(),
                peer: entry.note,
            }),
            Gone::Panicked => {
                context.events.clear();
                self.batch.panics += 1;
            }
        }
    }
}

/// All HTTP connections of one listener.
#[derive(Debug)]
pub struct HttpReactor {
    driver: Driver<Clients>,
    /// The slot where draining goes on.
    sweep: Option<usize>,
}

impl HttpReactor {
    /// Begins to accept.
    ///
    /// # Errors
    /// What the system calls answer.
    pub fn new(listener: Listener, crowd: CrowdRules, options: Options) -> io::Result<Self> {
        let keeper = Clients {
            crowd: Crowd::new(crowd),
            batch: HttpBatch::default(),
            handed: None,
            handovers: Vec::new(),
        };
        Ok(Self {
            driver: Driver::new(listener, keeper, Context::new(options))?,
            sweep: None,
        })
    }

    /// The descriptor that is readable when there is something to poll.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.driver.fileno()
    }

    /// Where it listens; nothing once accepting was stopped.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.driver.address()
    }

    /// Open sockets, without those handed over.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.driver.table.len()
    }

    /// When to poll even if the descriptor is not readable.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.driver.next_deadline()
    }

    /// Tells the time of the answers' Date, in seconds since 1970.
    pub fn set_date(&mut self, unix_s: u64) {
        self.driver.shared.context.date.set(unix_s);
    }

    /// Does what can be done without waiting, within the bounds, and hands over what happened.
    ///
    /// # Errors
    /// What `epoll_wait` answers; never for what a peer did.
    pub fn poll(&mut self, now: u64, time: Duration) -> io::Result<HttpBatch> {
        self.driver.poll(now, time)?;
        self.sweep(now);
        let mut batch = std::mem::take(&mut self.driver.keeper.batch);
        batch.starved = self.driver.take_starved();
        batch.more = self.driver.take_more() || self.sweep.is_some();
        Ok(batch)
    }

    /// Answers requests by connection and number, at once where the sockets take it. Connections
    /// that are gone are passed over in silence. How many answers could not be said in HTTP: their
    /// peers were told 500.
    pub fn send_many<'a>(
        &mut self,
        answers: impl IntoIterator<Item = (Id, u32, Answer<'a>)>,
        now: u64,
    ) -> usize {
        let mut unsaid = 0;
        for (id, number, answer) in answers {
            self.driver.with(id, now, |entry, shared| {
                let said = entry.session.answer(number, &answer, now, &shared.context);
                unsaid += usize::from(!said);
                entry.flush(shared, now);
            });
        }
        unsaid
    }

    /// The connections handed over since the last call.
    pub fn take_handovers(&mut self) -> Vec<Handover> {
        std::mem::take(&mut self.driver.keeper.handovers)
    }

    /// Closes the listener; connections stay. Idempotent.
    pub fn stop_accepting(&mut self) {
        self.driver.stop_accepting();
    }

    /// Ends every connection after the request it has begun, in steps, one a poll. Those that begin
    /// later are not drained: [`stop_accepting`](Self::stop_accepting) first.
    pub const fn drain(&mut self) {
        self.sweep = Some(0);
    }

    /// Whether the next poll has something to do whatever the descriptor says.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        let keeper = &self.driver.keeper;
        self.driver.has_more()
            || !keeper.batch.requests.is_empty()
            || !keeper.handovers.is_empty()
            || self.sweep.is_some()
    }

    fn sweep(&mut self, now: u64) {
        let Some(first) = self.sweep.take() else {
            return;
        };
        for slot in first..first + STEPS_MAX {
            if slot >= self.driver.table.slots() {
                return;
            }
            if let Some(id) = self.driver.table.id_at(slot) {
                self.driver.with(id, now, |entry, shared| {
                    if entry.session.wants_data() {
                        // What has come was asked in time, though nobody has looked yet.
                        entry.receive(shared, now);
                    }
                    entry.session.drain(now, &shared.context);
                    entry.flush(shared, now);
                });
            }
        }
        self.sweep = Some(first + STEPS_MAX);
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
