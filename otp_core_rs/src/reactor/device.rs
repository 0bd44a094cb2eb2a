//! Device connections: upgrades and frames in, messages out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;

use rustix::fd::RawFd;

use super::batch::{Batch, Upgrade};
use super::driver::{ContextOf, Driver, EntryOf, Gone, Keeper, Opened, STEPS_MAX};
use super::entrance::{Entrance, EntranceRules};
use super::listener::Listener;
use super::table::{Entry, Id};
use super::wire::Talk;
use crate::session::{Ending, Event, Kind, Session, SessionOptions, Spare};

const REASONS_MAX: usize = u8::MAX as usize;

/// What all device sessions share.
#[derive(Debug)]
pub(super) struct Context {
    options: SessionOptions,
    events: Vec<Event>,
}

impl Talk for Session {
    type Context = Context;

    fn receive_data(&mut self, data: &mut [u8], now: u64, context: &mut Context) {
        self.receive_data(data, now, &context.options, &mut context.events);
    }

    fn receive_eof(&mut self, _now: u64, context: &mut Context) {
        self.receive_eof(&mut context.events);
    }

    fn lost(&mut self, context: &mut Context) {
        self.receive_eof(&mut context.events);
    }

    fn handle_timeout(&mut self, now: u64, context: &mut Context) {
        self.handle_timeout(now, &context.options, &mut context.events);
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
        self.sent(size, now, &context.options);
    }

    fn wants_data(&self) -> bool {
        true
    }

    fn wants_shutdown(&mut self) -> bool {
        self.wants_shutdown()
    }

    fn is_handed_over(&self) -> bool {
        false
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

/// What is kept beside each device's session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// Which reason the caller closed it with first, counted from one.
    asked: Option<NonZeroU8>,
    /// Whether the caller has heard of it.
    announced: bool,
}

/// Who may come in, and what the caller is told.
#[derive(Debug)]
pub(super) struct Devices {
    connections_max: usize,
    /// All others in the table have asked to come in, and were not refused.
    entrance: Entrance,
    batch: Batch,
    reasons: Vec<String>,
}

impl Keeper for Devices {
    type Session = Session;
    type Note = Note;
    /// As much as a peer may send at once.
    const RECEIVE_BYTES: usize = 65_536;

    fn open(
        &mut self,
        id: Id,
        peer: Option<IpAddr>,
        now: u64,
        context: &Context,
    ) -> Option<Opened<Session, Note>> {
        Some(Opened {
            session: Session::new(now, &context.options),
            note: Note {
                asked: None,
                announced: false,
            },
            goes: self.entrance.enter(id, peer),
        })
    }

    fn hear(&mut self, id: Id, entry: &mut EntryOf<Self>, context: &mut Context, open: usize) {
        let over_limit = open - self.entrance.len() >= self.connections_max;
        for event in context.events.drain(..) {
            if !over_limit && matches!(event, Event::Upgrade(_)) {
                self.entrance.leave(id);
            }
            report(&mut self.batch, &self.reasons, id, entry, event, over_limit);
        }
    }

    fn gone(&mut self, id: Id, entry: EntryOf<Self>, why: Gone, context: &mut ContextOf<Self>) {
        self.entrance.leave(id);
        match why {
            Gone::Over | Gone::HandedOver => {}
            Gone::Displaced => self.batch.dropped += usize::from(!entry.note.announced),
            Gone::Panicked => {
                context.events.clear();
                self.batch.panics += 1;
                if entry.note.announced {
                    let why = Kind::Internal.token().to_owned();
                    self.batch.closed.push((id, why));
                }
            }
        }
    }
}

/// A close of all connections, done in steps.
#[derive(Debug)]
struct Sweep {
    slot: usize,
    code: u16,
    reason: String,
}

/// All device connections of one listener.
#[derive(Debug)]
pub struct Reactor {
    driver: Driver<Devices>,
    sweep: Option<Sweep>,
}

impl Reactor {
    /// Begins to accept. `connections_max` bounds those that are let in, `entrance` the others.
    ///
    /// # Errors
    /// What the system calls answer.
    pub fn new(
        listener: Listener,
        connections_max: usize,
        entrance: EntranceRules,
        options: SessionOptions,
    ) -> io::Result<Self> {
        let keeper = Devices {
            connections_max,
            entrance: Entrance::new(entrance),
            batch: Batch::default(),
            reasons: Vec::new(),
        };
        let context = Context {
            options,
            events: Vec::new(),
        };
        Ok(Self {
            driver: Driver::new(listener, keeper, context)?,
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

    /// Open sockets.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.driver.table.len()
    }

    /// When to poll even if the descriptor is not readable.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.driver.next_deadline()
    }

    /// Does what can be done without waiting, within the bounds, and hands over what happened.
    ///
    /// # Errors
    /// What `epoll_wait` answers; never for what a peer did.
    pub fn poll(&mut self, now: u64, time: Duration) -> io::Result<Batch> {
        self.driver.poll(now, time)?;
        self.sweep(now);
        let mut batch = std::mem::take(&mut self.driver.keeper.batch);
        batch.starved = self.driver.take_starved();
        batch.more = self.driver.take_more() || self.sweep.is_some();
        Ok(batch)
    }

    /// Lets connections in, or answers them with an HTTP response and ends them.
    pub fn decide_many<'a>(
        &mut self,
        verdicts: impl IntoIterator<Item = (Id, Option<&'a [u8]>)>,
        now: u64,
    ) {
        for (id, refusal) in verdicts {
            let mut peer = None;
            self.driver.with(id, now, |entry, shared| {
                let context = &mut shared.context;
                match refusal {
                    None => {
                        let events = &mut context.events;
                        entry.session.accept(now, &context.options, events);
                    }
                    Some(response) => {
                        if entry.session.refuse(response, now, &context.options) {
                            peer = Some(entry.peer());
                        }
                    }
                }
                entry.flush(shared, now);
            });
            if let Some(peer) = peer
                && self.driver.table.get_mut(id).is_some()
            {
                let entrance = &mut self.driver.keeper.entrance;
                entrance.leave(id);
                if let Some(goes) = entrance.enter(id, peer) {
                    self.driver.remove(goes, Gone::Displaced);
                }
            }
        }
    }

    /// Sends messages, at once where the sockets take them. Connections that are gone are passed
    /// over in silence.
    pub fn send_many<'a>(&mut self, messages: impl IntoIterator<Item = (Id, &'a [u8])>, now: u64) {
        for (id, message) in messages {
            self.driver.with(id, now, |entry, shared| {
                let (options, events) = (&shared.context.options, &mut shared.context.events);
                entry.session.send(message, now, options, events);
                entry.flush(shared, now);
            });
        }
    }

    /// Closes connections after what is queued for them, within so many milliseconds.
    pub fn close_many<'a>(
        &mut self,
        closes: impl IntoIterator<Item = (Id, u16, &'a str, u64)>,
        now: u64,
    ) {
        for (id, code, reason, within_ms) in closes {
            self.close(id, code, reason, within_ms, now);
        }
    }

    /// Closes every connection, in steps, one step a poll.
    pub fn close_all(&mut self, code: u16, reason: &str) {
        self.sweep = Some(Sweep {
            slot: 0,
            code,
            reason: reason.to_owned(),
        });
    }

    /// Closes the listener; connections stay. Idempotent.
    pub fn stop_accepting(&mut self) {
        self.driver.stop_accepting();
    }

    /// Drops every connection without a word, and gives those the caller knew and was not told of.
    pub fn abandon(&mut self) -> Vec<Id> {
        let Driver { keeper, table, .. } = &mut self.driver;
        let mut known: Vec<Id> = keeper.batch.closed.drain(..).map(|(id, _)| id).collect();
        for slot in 0..table.slots() {
            let Some(id) = table.id_at(slot) else {
                continue;
            };
            keeper.entrance.leave(id);
            if let Some(mut entry) = table.remove(id) {
                let mut events = Vec::new();
                entry.session.receive_eof(&mut events);
                if events.iter().any(|event| matches!(event, Event::Closed(_))) {
                    known.push(id);
                }
            }
        }
        known
    }

    /// Whether the next poll has something to do whatever the descriptor says.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        let batch = &self.driver.keeper.batch;
        self.driver.has_more()
            || !batch.frames.is_empty()
            || !batch.closed.is_empty()
            || self.sweep.is_some()
    }

    fn close(&mut self, id: Id, code: u16, reason: &str, within_ms: u64, now: u64) {
        let asked = self.reason(reason);
        self.driver.with(id, now, |entry, shared| {
            entry.session.close(code, reason, within_ms, now);
            entry.note.asked = entry.note.asked.or(asked);
            entry.flush(shared, now);
        });
    }

    /// A short name of a close reason; there are few.
    fn reason(&mut self, reason: &str) -> Option<NonZeroU8> {
        let reasons = &mut self.driver.keeper.reasons;
        let known = reasons.iter().position(|held| held == reason);
        let place = known.unwrap_or_else(|| {
            if reasons.len() < REASONS_MAX {
                reasons.push(reason.to_owned());
            }
            reasons.len() - 1
        });
        u8::try_from(place + 1).ok().and_then(NonZeroU8::new)
    }

    fn sweep(&mut self, now: u64) {
        let Some(mut sweep) = self.sweep.take() else {
            return;
        };
        for _ in 0..STEPS_MAX {
            if sweep.slot >= self.driver.table.slots() {
                return;
            }
            if let Some(id) = self.driver.table.id_at(sweep.slot) {
                let within_ms = self.driver.shared.context.options.close_ms;
                self.close(id, sweep.code, &sweep.reason, within_ms, now);
            }
            sweep.slot += 1;
        }
        self.sweep = Some(sweep);
    }
}

/// Puts a session's event into the batch.
fn report(
    batch: &mut Batch,
    reasons: &[String],
    id: Id,
    entry: &mut Entry<Session, Note>,
    event: Event,
    over_limit: bool,
) {
    match event {
        Event::Upgrade(request) => {
            entry.note.announced = true;
            batch.upgrades.push(Upgrade {
                id,
                peer: entry
                    .peer()
                    .map_or_else(String::new, |address| address.to_string()),
                request,
                over_limit,
            });
        }
        Event::Frame(frame) => batch.frames.push((id, frame)),
        Event::Unopened => batch.dropped += 1,
        Event::Closed(ending) => {
            let why = match ending {
                Ending::Peer => "peer",
                Ending::Core(kind) => kind.token(),
                Ending::Asked => entry
                    .note
                    .asked
                    .and_then(|asked| reasons.get(usize::from(asked.get()) - 1))
                    .map_or("peer", String::as_str),
            };
            batch.closed.push((id, why.to_owned()));
        }
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
