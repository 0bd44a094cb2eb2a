//! The loop that drives the connections of one listener, whatever is spoken on them.

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

use super::listener::Listener;
use super::table::{Entry, Id, Mark, Table, Unread};
use super::timers::Timers;
use super::wire::{Shared, Talk};
use crate::outbox::Spare;

/// Events of one poll: so many keep the other tasks of the loop within 2-3 ms.
pub const EVENTS_MAX: usize = 64;
/// What is asked for: the one more tells that there are others, even where 64 always speak together.
pub(super) const LOOK_MAX: usize = EVENTS_MAX + 1;
/// Connections accepted, timers fired or connections closed by one poll.
pub(super) const STEPS_MAX: usize = 64;
/// How long accepting pauses when descriptors have run out.
const PAUSE_MS: u64 = 100;
/// What is watched on a connection; [`epoll::EventFlags::OUT`] too while something waits for room.
const WATCHED: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);
/// Events after which nothing can be sent any more.
const BROKEN: epoll::EventFlags = epoll::EventFlags::HUP.union(epoll::EventFlags::ERR);
/// Events after which there is an end of stream or an error to read behind what has come.
const ENDS: epoll::EventFlags = BROKEN.union(epoll::EventFlags::RDHUP);
const LISTENER: u64 = u64::MAX;

/// Why a connection is out of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its session is over.
    Over,
    /// Its session panicked.
    Panicked,
    /// Another one came for it.
    Displaced,
    /// Its socket is for somebody else.
    HandedOver,
}

/// A connection that comes in.
pub(super) struct Opened<T, N> {
    pub(super) session: T,
    pub(super) note: N,
    /// The connection that has to go for it.
    pub(super) goes: Option<Id>,
}

pub(super) type ContextOf<K> = <<K as Keeper>::Session as Talk>::Context;
pub(super) type EntryOf<K> = Entry<<K as Keeper>::Session, <K as Keeper>::Note>;

/// Who keeps the connections: lets them come, takes what happens, hears of their end.
pub(super) trait Keeper {
    type Session: Talk;
    /// What is kept beside each session.
    type Note;
    /// What one read may take.
    const RECEIVE_BYTES: usize;

    /// A connection was accepted; nothing drops it.
    fn open(
        &mut self,
        id: Id,
        peer: Option<IpAddr>,
        now: u64,
        context: &ContextOf<Self>,
    ) -> Option<Opened<Self::Session, Self::Note>>;

    /// Takes the events of one connection out of the context. `open` connections are there.
    fn hear(
        &mut self,
        id: Id,
        entry: &mut EntryOf<Self>,
        context: &mut ContextOf<Self>,
        open: usize,
    );

    /// A connection is out of the table. After a panic the context may hold events of it.
    fn gone(&mut self, id: Id, entry: EntryOf<Self>, why: Gone, context: &mut ContextOf<Self>);
}

/// The loop.
pub(super) struct Driver<K: Keeper> {
    epoll: OwnedFd,
    listener: Option<Listener>,
    /// When accepting goes on.
    paused_until: Option<u64>,
    pub(super) keeper: K,
    pub(super) table: Table<EntryOf<K>>,
    pub(super) timers: Timers,
    pub(super) shared: Shared<ContextOf<K>>,
    /// Events there was no time for, the next one last; without flags: who is to be read on.
    unheard: Vec<(u64, epoll::EventFlags)>,
    /// Who is to be read on, each once, when all others were heard.
    unread: Vec<Id>,
    /// Whether the last look brought as many as it may: then there are more, and to wait for the
    /// descriptor would only cost.
    full: bool,
    more: bool,
    starved: Option<i32>,
}

impl<K: Keeper> fmt::Debug for Driver<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Driver")
            .field("address", &self.address())
            .field("connections", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl<K: Keeper> Driver<K> {
    /// Begins to accept.
    pub(super) fn new(listener: Listener, keeper: K, context: ContextOf<K>) -> io::Result<Self> {
        let driver = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listener: Some(listener),
            paused_until: None,
            keeper,
            table: Table::default(),
            timers: Timers::default(),
            shared: Shared {
                context,
                received: Vec::with_capacity(K::RECEIVE_BYTES),
                spare: Spare::default(),
            },
            unheard: Vec::with_capacity(LOOK_MAX),
            unread: Vec::new(),
            full: false,
            more: false,
            starved: None,
        };
        driver.watch_listener()?;
        Ok(driver)
    }

    pub(super) fn fileno(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match (self.timers.next_deadline(), self.paused_until) {
            (Some(timer), Some(pause)) => Some(timer.min(pause)),
            (timer, pause) => timer.or(pause),
        }
    }

    /// Whether the next poll has something to do whatever the descriptor says.
    pub(super) const fn has_more(&self) -> bool {
        self.more || self.full || !self.unheard.is_empty() || !self.unread.is_empty()
    }

    /// Whether the last poll left something; asked once a poll.
    pub(super) const fn take_more(&mut self) -> bool {
        std::mem::replace(&mut self.more, false)
    }

    /// Why accepting pauses since the last poll.
    pub(super) const fn take_starved(&mut self) -> Option<i32> {
        self.starved.take()
    }

    /// Does what can be done without waiting, within the bounds.
    pub(super) fn poll(&mut self, now: u64, time: Duration) -> io::Result<()> {
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
                self.more = true;
                break;
            }
        }
        if knocks {
            // After the others: whoever has asked meanwhile is not pushed out for a new one.
            self.accept(now);
        }
        self.fire_timers(now, started, time);
        Ok(())
    }

    /// Works on one connection, then sees to its events, its timer and its end.
    pub(super) fn with(
        &mut self,
        id: Id,
        now: u64,
        work: impl FnOnce(&mut EntryOf<K>, &mut Shared<ContextOf<K>>),
    ) {
        let open = self.table.len();
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        let shared = &mut self.shared;
        entry.session.borrow(&mut shared.spare);
        if catch_unwind(AssertUnwindSafe(|| work(&mut *entry, &mut *shared))).is_err() {
            self.remove(id, Gone::Panicked);
            return;
        }
        self.keeper.hear(id, entry, &mut shared.context, open);
        entry.session.give_back(&mut shared.spare);
        if entry.session.is_handed_over() {
            let _ = epoll::delete(&self.epoll, &entry.socket);
            self.remove(id, Gone::HandedOver);
        } else if entry.session.is_over() {
            if entry.session.was_cut() {
                // Not even the kernel is to go on offering what the peer does not take.
                let _ = sockopt::set_socket_linger(&entry.socket, Some(Duration::ZERO));
            }
            self.remove(id, Gone::Over);
        } else {
            entry.watch(&self.epoll, id);
            let reads_on = entry.unread != Unread::Nothing && entry.session.wants_data();
            if reads_on && !entry.marks.has(Mark::InLine) {
                entry.marks.set(Mark::InLine, true);
                self.unread.push(id);
            }
            if let Some(deadline) = entry.session.next_deadline() {
                // Not in the past of a timer that fires now: a deadline is always moved on.
                self.timers.arm(&mut entry.armed_for, deadline.max(now), id);
            }
        }
    }

    /// How many are to be read on.
    #[cfg(test)]
    pub(super) const fn waiting_turns(&self) -> usize {
        self.unread.len()
    }

    /// Takes a connection out, if it is there, and tells the keeper.
    pub(super) fn remove(&mut self, id: Id, why: Gone) {
        if let Some(entry) = self.table.remove(id) {
            self.keeper.gone(id, entry, why, &mut self.shared.context);
        }
    }

    /// Closes the listener; connections stay. Idempotent.
    pub(super) fn stop_accepting(&mut self) {
        self.listener = None;
        self.paused_until = None;
    }

    /// Asks who is ready; who is to be read on comes after them. Not before all of the last answer
    /// were heard: who is last would wait for as long as the first have something to say.
    fn look(&mut self) -> io::Result<()> {
        let mut room = [const { MaybeUninit::uninit() }; LOOK_MAX];
        match epoll::wait(&self.epoll, &mut room[..], Some(&Timespec::default())) {
            Ok((ready, _)) => {
                let on = self.unread.drain(..);
                self.unheard
                    .extend(on.map(|id| (id.0, epoll::EventFlags::empty())));
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

    fn event(&mut self, id: Id, flags: epoll::EventFlags, now: u64) {
        self.with(id, now, |entry, shared| {
            if flags.is_empty() {
                entry.marks.set(Mark::InLine, false); // its turn has come
            }
            entry.told(flags);
            if !entry.session.wants_data() {
                if flags.intersects(BROKEN) {
                    entry.session.lost(&mut shared.context);
                }
            } else if entry.unread != Unread::Nothing {
                entry.receive(shared, now);
            }
            entry.flush(shared, now);
        });
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
        self.more |= self.timers.next_deadline().is_some_and(|next| next <= now);
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
                    self.starved = Some(why.raw_os_error());
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
        let Some(opened) = self.keeper.open(id, peer, now, &self.shared.context) else {
            return;
        };
        let mut entry = Entry::new(socket, opened.session, opened.note);
        if let Some(deadline) = entry.session.next_deadline() {
            self.timers.arm(&mut entry.armed_for, deadline, id);
        }
        self.table.insert(id, entry);
        if let Some(goes) = opened.goes {
            self.remove(goes, Gone::Displaced);
        }
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

impl<T: Talk, N> Entry<T, N> {
    /// Notes what the set says, which it says once.
    fn told(&mut self, flags: epoll::EventFlags) {
        if flags.intersects(ENDS) {
            self.unread = Unread::End;
        } else if flags.contains(epoll::EventFlags::IN) && self.unread == Unread::Nothing {
            self.unread = Unread::Bytes;
        }
    }

    /// Tells the set whether room for bytes of ours is waited for.
    fn watch(&mut self, epoll: &OwnedFd, id: Id) {
        let wants_writable = !self.session.data_to_send().is_empty();
        if wants_writable == self.marks.has(Mark::WantsRoom) {
            return;
        }
        self.marks.set(Mark::WantsRoom, wants_writable);
        let mut flags = WATCHED;
        flags.set(epoll::EventFlags::OUT, wants_writable);
        // It is in the set; were it not, its deadlines would end it.
        let _ = epoll::modify(epoll, &self.socket, epoll::EventData::new_u64(id.0), flags);
    }
}
