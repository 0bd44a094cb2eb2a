//! The connections of a reactor, by numbers that are never used again.

use rustix::fd::OwnedFd;

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

/// What is still to be read of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    /// Bytes, until a read gives less than was asked for.
    Bytes,
    /// Whatever comes before the end of the stream, and that too.
    End,
}

/// What may be noted of a connection.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Mark {
    /// It stands in line to be read on.
    InLine = 1,
    /// The set tells of room for bytes of ours.
    WantsRoom = 2,
}

/// Which of them are, in one byte: there are many connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) const fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(super) const fn set(&mut self, mark: Mark, on: bool) {
        if on {
            self.0 |= mark as u8;
        } else {
            self.0 &= !(mark as u8);
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry<T, N> {
    pub(super) socket: OwnedFd,
    pub(super) session: T,
    /// The deadline of the timer entry that counts; `u64::MAX` for none.
    pub(super) armed_for: u64,
    /// What the set has told of, once, and was not read.
    pub(super) unread: Unread,
    pub(super) marks: Marks,
    /// The keeper's.
    pub(super) note: N,
}

impl<T, N> Entry<T, N> {
    /// One that was just added to the set.
    pub(super) const fn new(socket: OwnedFd, session: T, note: N) -> Self {
        Self {
            socket,
            session,
            armed_for: u64::MAX,
            unread: Unread::Nothing,
            marks: Marks(0),
            note,
        }
    }
}

#[derive(Debug)]
struct Slot<E> {
    generation: u32,
    entry: Option<E>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Table<E> {
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    used: usize,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<E> Table<E> {
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
    pub(super) fn insert(&mut self, id: Id, entry: E) {
        self.free.pop();
        self.used += 1;
        self.slots[id.slot() as usize].entry = Some(entry);
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut E> {
        self.slots
            .get_mut(id.slot() as usize)
            .filter(|slot| slot.generation == id.generation())
            .and_then(|slot| slot.entry.as_mut())
    }

    /// Takes a connection out; its number never comes again.
    pub(super) fn remove(&mut self, id: Id) -> Option<E> {
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
