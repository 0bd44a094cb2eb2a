//! Deadlines of thousands of connections, without scanning.
//!
//! A heap of (deadline, connection), deleted lazily: a connection has one entry that counts, named
//! by its own `armed_for`. A deadline that moves later costs nothing: its entry fires early, and
//! the connection is armed again. Only one that moves earlier costs a push.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::table::Id;

/// When which connection wants to be looked at.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(u64, Id)>>);

impl Timers {
    /// Adds an entry when `deadline` is earlier than what the connection is armed for.
    pub(super) fn arm(&mut self, armed_for: &mut u64, deadline: u64, id: Id) {
        if deadline < *armed_for {
            *armed_for = deadline;
            self.0.push(Reverse((deadline, id)));
        }
    }

    /// The earliest entry; it may be out of date.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes the earliest entry that is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(u64, Id)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Entries, out of date ones too.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
