//! All device connections of a process in one epoll set (Linux). The only place with sockets.
//!
//! | module       | what is there                                          |
//! |--------------|--------------------------------------------------------|
//! | [`listener`] | the listening socket                                   |
//! | [`batch`]    | what one poll hands over                               |
//! | [`entrance`] | bounds on connections that are not let in yet          |
//! | `table`      | connections by numbers that are never used again       |
//! | `timers`     | deadlines without scanning                             |
//! | `wire`       | between a socket and its session                       |
//!
//! Somebody else waits: whoever drives the reactor waits until [`Reactor::fileno`] is readable or
//! [`Reactor::next_deadline`] has come, and polls. A poll never blocks and is bounded in events,
//! accepts, timers and time; what was left is done by the next, and makes the descriptor readable or
//! [`Reactor::has_more`] true. Connections are independent: what goes wrong in one, a panic too, ends
//! that one.
//!
//! Connections are watched edge-triggered: the kernel says once that something has come, and need not
//! look again at each that has been heard, which costs it a twentieth of a busy server's time. So a
//! connection is read until it gives less than was asked for, its end of stream too.

pub mod batch;
pub mod entrance;
pub mod listener;
mod table;
mod timers;
mod wire;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags, sockopt};

pub use batch::{Batch, Upgrade};
use entrance::Entrance;
pub use entrance::{EntranceRules, Network};
pub use listener::Listener;
pub use table::Id;
use table::{Entry, Table};
use timers::Timers;
use wire::Shared;

use crate::session::{Ending, Event, Kind, Session, SessionOptions, Spare};

/// Events of one poll: so many keep the other tasks of the loop within 2-3 ms.
pub const EVENTS_MAX: usize = 64;
/// What is asked for: the one more tells that there are others, even where 64 always speak together.
const LOOK_MAX: usize = EVENTS_MAX + 1;
/// Connections accepted, timers fired or connections closed by one poll.
const STEPS_MAX: usize = 64;
/// What one read may take: as much as a peer may send at once.
const RECEIVE_BYTES: usize = 65_536;
/// How long accepting pauses when descriptors have run out.
const PAUSE_MS: u64 = 100;
/// What is watched on a connection; [`epoll::EventFlags::OUT`] too while something waits for room.
const WATCHED: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);
/// Events after which there is an end of stream or an error to read behind what has come.
const ENDS: epoll::EventFlags = epoll::EventFlags::RDHUP
    .union(epoll::EventFlags::HUP)
    .union(epoll::EventFlags::ERR);
const REASONS_MAX: usize = u8::MAX as usize;
const LISTENER: u64 = u64::MAX;

/// A close of all connections, done in steps.
#[derive(Debug)]
struct Sweep {
    slot: usize,
    code: u16,
    reason: String,
}

/// All connections of one listener.
pub struct Reactor {
    epoll: OwnedFd,
    listener: Option<Listener>,
    /// When accepting goes on.
    paused_until: Option<u64>,
    connections_max: usize,
    /// All others in the table have asked to come in, and were not refused.
    entrance: Entrance,
    table: Table,
    timers: Timers,
    shared: Shared,
    batch: Batch,
    /// Events there was no time for, the next one last.
    unheard: Vec<(u64, epoll::EventFlags)>,
    /// Whether the last look brought as many as it may: then there are more, and to wait for the
    /// descriptor would only cost.
    full: bool,
    reasons: Vec<String>,
    sweep: Option<Sweep>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reactor")
            .field("address", &self.address())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
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
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let reactor = Self {
            epoll,
            listener: Some(listener),
            paused_until: None,
            connections_max,
            entrance: Entrance::new(entrance),
            table: Table::default(),
            timers: Timers::default(),
            shared: Shared {
                options,
                received: Vec::with_capacity(RECEIVE_BYTES),
                events: Vec::new(),
                spare: Spare::default(),
            },
            batch: Batch::default(),
            unheard: Vec::with_capacity(LOOK_MAX),
            full: false,
            reasons: Vec::new(),
            sweep: None,
        };
        reactor.watch_listener()?;
        Ok(reactor)
    }

    /// The descriptor that is readable when there is something to poll.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Where it listens; nothing once accepting was stopped.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    /// Open sockets.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// When to poll even if the descriptor is not readable.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        match (self.timers.next_deadline(), self.paused_until) {
            (Some(timer), Some(pause)) => Some(timer.min(pause)),
            (timer, pause) => timer.or(pause),
        }
    }

    /// Does what can be done without waiting, within the bounds, and hands over what happened.
    ///
    /// # Errors
    /// What `epoll_wait` answers; never for what a peer did.
    pub fn poll(&mut self, now: u64, time: Duration) -> io::Result<Batch> {
        let started = Instant::now();
        self.resume(now);
        if self.unheard.is_empty() {
            self.look()?;
        }
        let mut knocks = false;
        while let Some((data, flags)) = self.unheard.pop() {
            match data {
                LISTENER => knocks = true,
                id => self.event(Id(id), flags, now),
            }
            if started.elapsed() > time {
                self.batch.more = true;
                break;
            }
        }
        if knocks {
            // After the others: whoever has asked meanwhile is not pushed out for a new one.
            self.accept(now);
        }
        self.fire_timers(now, started, time);
        self.sweep(now);
        Ok(std::mem::take(&mut self.batch))
    }

    /// Asks who is ready. Not before all of the last answer were heard: the set names the same ones
    /// first each time, and who is last would wait for as long as the first have something to say.
    fn look(&mut self) -> io::Result<()> {
        let mut room = [const { MaybeUninit::uninit() }; LOOK_MAX];
        match epoll::wait(&self.epoll, &mut room[..], Some(&Timespec::default())) {
            Ok((ready, _)) => {
                let events = ready.iter().rev();
                self.unheard
                    .extend(events.map(|event| (event.data.u64(), event.flags)));
                self.full = ready.len() == LOOK_MAX;
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets connections in, or answers them with an HTTP response and ends them.
    pub fn decide_many<'a>(
        &mut self,
        verdicts: impl IntoIterator<Item = (Id, Option<&'a [u8]>)>,
        now: u64,
    ) {
        for (id, refusal) in verdicts {
            let mut peer = None;
            self.with(id, now, |entry, shared| {
                match refusal {
                    None => {
                        let (options, events) = (&shared.options, &mut shared.events);
                        entry.session.accept(now, options, events);
                    }
                    Some(response) => {
                        if entry.session.refuse(response, now, &shared.options) {
                            peer = Some(entry.peer());
                        }
                    }
                }
                entry.flush(shared, now);
            });
            if let Some(peer) = peer
                && self.table.get_mut(id).is_some()
            {
                self.entrance.leave(id);
                self.wait_at_entrance(id, peer);
            }
        }
    }

    /// Sends messages, at once where the sockets take them. Connections that are gone are passed
    /// over in silence.
    pub fn send_many<'a>(&mut self, messages: impl IntoIterator<Item = (Id, &'a [u8])>, now: u64) {
        for (id, message) in messages {
            self.with(id, now, |entry, shared| {
                let (options, events) = (&shared.options, &mut shared.events);
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
        self.batch.more = true;
    }

    /// Closes the listener; connections stay. Idempotent.
    pub fn stop_accepting(&mut self) {
        self.listener = None;
        self.paused_until = None;
    }

    /// Drops every connection without a word, and gives those the caller knew and was not told of.
    pub fn abandon(&mut self) -> Vec<Id> {
        let mut known: Vec<Id> = self.batch.closed.drain(..).map(|(id, _)| id).collect();
        for slot in 0..self.table.slots() {
            let Some(id) = self.table.id_at(slot) else {
                continue;
            };
            if let Some(mut entry) = self.forget(id) {
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
        self.batch.more
            || self.full
            || !self.unheard.is_empty()
            || !self.batch.frames.is_empty()
            || !self.batch.closed.is_empty()
            || self.sweep.is_some()
    }

    fn close(&mut self, id: Id, code: u16, reason: &str, within_ms: u64, now: u64) {
        let asked = self.reason(reason);
        self.with(id, now, |entry, shared| {
            entry.session.close(code, reason, within_ms, now);
            entry.asked.get_or_insert(asked);
            entry.flush(shared, now);
        });
    }

    /// A short name of a close reason; there are few.
    fn reason(&mut self, reason: &str) -> u8 {
        let known = self.reasons.iter().position(|held| held == reason);
        let place = known.unwrap_or_else(|| {
            if self.reasons.len() < REASONS_MAX {
                self.reasons.push(reason.to_owned());
            }
            self.reasons.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    fn event(&mut self, id: Id, flags: epoll::EventFlags, now: u64) {
        let readable = flags.intersects(epoll::EventFlags::IN | ENDS);
        let mut again = false;
        self.with(id, now, |entry, shared| {
            if readable {
                again = entry.readable(shared, flags.intersects(ENDS), now);
            } else {
                entry.flush(shared, now);
            }
        });
        if again && self.table.get_mut(id).is_some() {
            // After the others.
            self.unheard.insert(0, (id.0, flags));
        }
    }

    /// Works on one connection, then sees to its events, its timer and its end.
    fn with(&mut self, id: Id, now: u64, work: impl FnOnce(&mut Entry, &mut Shared)) {
        let inside = self.table.len() - self.entrance.len();
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        let shared = &mut self.shared;
        entry.session.borrow(&mut shared.spare);
        let worked = catch_unwind(AssertUnwindSafe(|| work(&mut *entry, &mut *shared)));
        if worked.is_err() {
            self.shared.events.clear();
            self.batch.panics += 1;
            if self.forget(id).is_some_and(|entry| entry.announced) {
                let why = Kind::Internal.token().to_owned();
                self.batch.closed.push((id, why));
            }
            return;
        }
        for event in self.shared.events.drain(..) {
            let over_limit = inside >= self.connections_max;
            if !over_limit && matches!(event, Event::Upgrade(_)) {
                self.entrance.leave(id);
            }
            report(&mut self.batch, &self.reasons, id, entry, event, over_limit);
        }
        entry.session.give_back(&mut self.shared.spare);
        if entry.session.is_over() {
            if entry.session.was_cut() {
                // Not even the kernel is to go on offering what the peer does not take.
                let _ = sockopt::set_socket_linger(&entry.socket, Some(Duration::ZERO));
            }
            self.forget(id);
            return;
        }
        let wants_writable = !entry.session.data_to_send().is_empty();
        if wants_writable != entry.wants_writable {
            entry.wants_writable = wants_writable;
            let mut flags = WATCHED;
            flags.set(epoll::EventFlags::OUT, wants_writable);
            let data = epoll::EventData::new_u64(id.0);
            // It is in the set; were it not, its deadlines would end it.
            let _ = epoll::modify(&self.epoll, &entry.socket, data, flags);
        }
        if let Some(deadline) = entry.session.next_deadline() {
            // Not in the past of a timer that fires now: a deadline is always moved on.
            self.timers.arm(&mut entry.armed_for, deadline.max(now), id);
        }
    }

    fn fire_timers(&mut self, now: u64, started: Instant, time: Duration) {
        for _ in 0..STEPS_MAX {
            let Some((deadline, id)) = self.timers.take_due(now) else {
                return;
            };
            let Some(entry) = self.table.get_mut(id) else {
                continue;
            };
            if entry.armed_for != deadline {
                continue; // armed anew since
            }
            entry.armed_for = u64::MAX;
            self.with(id, now, |entry, shared| entry.timeout(shared, now));
            if started.elapsed() > time {
                break; // one has fired: it goes on
            }
        }
        self.batch.more |= self.timers.next_deadline().is_some_and(|next| next <= now);
    }

    fn sweep(&mut self, now: u64) {
        let Some(mut sweep) = self.sweep.take() else {
            return;
        };
        for _ in 0..STEPS_MAX {
            if sweep.slot >= self.table.slots() {
                return;
            }
            if let Some(id) = self.table.id_at(sweep.slot) {
                let within_ms = self.shared.options.close_ms;
                self.close(id, sweep.code, &sweep.reason, within_ms, now);
            }
            sweep.slot += 1;
        }
        self.sweep = Some(sweep);
        self.batch.more = true;
    }

    fn accept(&mut self, now: u64) {
        for _ in 0..STEPS_MAX {
            let Some(listener) = &self.listener else {
                return;
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match net::acceptfrom_with(&listener.socket, flags) {
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|address| SocketAddr::try_from(address).ok());
                    self.enter(socket, peer.map(|address| address.ip()), now);
                }
                Err(Errno::AGAIN) => return,
                Err(why @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.batch.starved = Some(why.raw_os_error());
                    self.pause(now);
                    return;
                }
                Err(_) => {} // that connection is gone already
            }
        }
    }

    /// Enters an accepted connection. One that cannot be watched is dropped.
    fn enter(&mut self, socket: OwnedFd, peer: Option<IpAddr>, now: u64) {
        let Some(id) = self.table.next_id() else {
            return;
        };
        // Answers are small and wait for nothing; without it they are only later.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let data = epoll::EventData::new_u64(id.0);
        if epoll::add(&self.epoll, &socket, data, WATCHED).is_err() {
            return;
        }
        let mut entry = Entry {
            socket,
            session: Session::new(now, &self.shared.options),
            armed_for: u64::MAX,
            asked: None,
            wants_writable: false,
            announced: false,
        };
        if let Some(deadline) = entry.session.next_deadline() {
            self.timers.arm(&mut entry.armed_for, deadline, id);
        }
        self.table.insert(id, entry);
        self.wait_at_entrance(id, peer);
    }

    /// Notes a connection that is not let in; another may have to go for it.
    fn wait_at_entrance(&mut self, id: Id, peer: Option<IpAddr>) {
        if let Some(goes) = self.entrance.enter(id, peer)
            && let Some(entry) = self.table.remove(goes)
        {
            self.batch.dropped += usize::from(!entry.announced);
        }
    }

    /// Takes a connection out, wherever it stood.
    fn forget(&mut self, id: Id) -> Option<Entry> {
        self.entrance.leave(id);
        self.table.remove(id)
    }

    /// Leaves new connections in the kernel's queue for a while.
    fn pause(&mut self, now: u64) {
        if let Some(listener) = &self.listener
            && epoll::delete(&self.epoll, &listener.socket).is_ok()
        {
            self.paused_until = Some(now.saturating_add(PAUSE_MS));
        }
    }

    fn resume(&mut self, now: u64) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = match self.watch_listener() {
                Ok(()) => None,
                Err(_) => Some(now.saturating_add(PAUSE_MS)),
            };
        }
    }

    fn watch_listener(&self) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            let data = epoll::EventData::new_u64(LISTENER);
            epoll::add(&self.epoll, &listener.socket, data, epoll::EventFlags::IN)?;
        }
        Ok(())
    }
}

/// Puts a session's event into the batch.
fn report(
    batch: &mut Batch,
    reasons: &[String],
    id: Id,
    entry: &mut Entry,
    event: Event,
    over_limit: bool,
) {
    match event {
        Event::Upgrade(request) => {
            entry.announced = true;
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
                    .asked
                    .and_then(|asked| reasons.get(usize::from(asked)))
                    .map_or("peer", String::as_str),
            };
            batch.closed.push((id, why.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
