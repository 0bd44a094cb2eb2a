//! Bytes that wait for the peer's socket. Small and seldom: it is written at once where it can be.

/// How much may be sent already before the rest moves to the front.
const SENT_KEPT_MAX: usize = 16_384;
/// What a lent buffer may have grown to.
const LENT_BYTES_MAX: usize = 4_096;

#[derive(Debug)]
struct Queue {
    bytes: Vec<u8>,
    sent: usize,
    /// So many of `bytes` must be sent by `deadline`.
    mark: usize,
    deadline: u64,
    /// Whether it goes back, or else is freed as soon as nothing waits.
    lent: bool,
}

impl Queue {
    fn clear(&mut self) {
        self.bytes.clear();
        (self.sent, self.mark, self.deadline) = (0, 0, u64::MAX);
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            mark: 0,
            deadline: u64::MAX,
            lent: false,
        }
    }
}

/// A buffer that sessions borrow in turn, so that an answer that leaves at once costs no memory.
#[derive(Debug, Default)]
pub struct Spare(Option<Box<Queue>>);

/// Bytes in order; no memory while there are none.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

impl Outbox {
    /// Borrows the buffer, unless it has one.
    pub(crate) fn borrow(&mut self, spare: &mut Spare) {
        if self.0.is_none()
            && let Some(mut queue) = spare.0.take()
        {
            queue.lent = true;
            self.0 = Some(queue);
        }
    }

    /// Gives a buffer back, unless something waits in it.
    pub(crate) fn give_back(&mut self, spare: &mut Spare) {
        if self.waiting().is_empty()
            && let Some(mut queue) = self.0.take()
            && queue.bytes.capacity() <= LENT_BYTES_MAX
        {
            queue.clear();
            spare.0 = Some(queue);
        }
    }

    /// What is still to be sent.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.0
            .as_ref()
            .map_or(&[], |queue| &queue.bytes[queue.sent..])
    }

    /// Where to append. The caller keeps the bound.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_default().bytes
    }

    /// Notes that the front was sent. What is then waiting has `write_ms` from now.
    pub(crate) fn sent(&mut self, size: usize, now: u64, write_ms: u64) {
        let Some(queue) = &mut self.0 else {
            return;
        };
        queue.sent += size;
        if queue.sent >= queue.bytes.len() {
            if queue.lent {
                queue.clear();
            } else {
                self.0 = None;
            }
            return;
        }
        if queue.deadline == u64::MAX || queue.sent >= queue.mark {
            queue.mark = queue.bytes.len();
            queue.deadline = now.saturating_add(write_ms);
        }
        if queue.sent > SENT_KEPT_MAX {
            queue.bytes.drain(..queue.sent);
            queue.mark = queue.mark.saturating_sub(queue.sent);
            queue.sent = 0;
        }
    }

    /// When the peer is a slow reader.
    pub(crate) fn deadline(&self) -> u64 {
        self.0.as_ref().map_or(u64::MAX, |queue| queue.deadline)
    }

    /// Memory held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |queue| size_of::<Queue>() + queue.bytes.capacity())
    }
}
