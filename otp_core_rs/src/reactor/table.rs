//! The connections of a reactor, by numbers that are never used again.

use rustix::fd::OwnedFd;

use crate::session::Session;

const SLOT_BITS: u32 = 32;

/// A connection's number: the slot below, the slot's generation above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut on purpose")]
    const fn slot(self) -> u32 {
        self.0 as u32
    }

    const fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) socket: OwnedFd,
    pub(super) session: Session,
    /// The deadline of the timer entry that counts; `u64::MAX` for none.
    pub(super) armed_for: u64,
    /// Which reason the caller closed it with.
    pub(super) asked: u8,
    pub(super) wants_writable: bool,
    /// Whether it came when there were enough.
    pub(super) over_limit: bool,
    /// Whether the caller has heard of it.
    pub(super) announced: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    used: usize,
}

impl Table {
    /// The number the next connection gets, or nothing when numbers are used up.
    pub(super) fn next_id(&mut self) -> Option<Id> {
        if self.free.is_empty() {
            let slot = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(Slot {
                generation: 1,
                entry: None,
            });
            self.free.push(slot);
        }
        let slot = *self.free.last()?;
        Some(Id::new(slot, self.slots[slot as usize].generation))
    }

    /// Enters a connection under [`next_id`](Self::next_id)'s number.
    pub(super) fn insert(&mut self, id: Id, entry: Entry) {
        self.free.pop();
        self.used += 1;
        self.slots[id.slot() as usize].entry = Some(entry);
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.slots
            .get_mut(id.slot() as usize)
            .filter(|slot| slot.generation == id.generation())
            .and_then(|slot| slot.entry.as_mut())
    }

    /// Takes a connection out; its number never comes again.
    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        let slot = self
            .slots
            .get_mut(id.slot() as usize)
            .filter(|slot| slot.generation == id.generation())?;
        let entry = slot.entry.take()?;
        self.used -= 1;
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.slot());
        }
        Some(entry)
    }

    /// The connection in a slot, for those who go through all.
    pub(super) fn id_at(&self, slot: usize) -> Option<Id> {
        let held = self.slots.get(slot)?;
        held.entry.as_ref()?;
        Some(Id::new(u32::try_from(slot).ok()?, held.generation))
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }
}
