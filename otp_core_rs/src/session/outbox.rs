//! What waits for a peer to read it, and until when.

/// Above so many bytes already sent, the rest is moved to the front.
const SENT_KEPT_MAX: usize = 16_384;

/// Bytes in order; no memory while there are none.
#[derive(Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// So many of `bytes` must be sent by `deadline`.
    mark: usize,
    deadline: u64,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            mark: 0,
            deadline: u64::MAX,
        }
    }

    /// What is still to be sent.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Where to append. The caller keeps the bound.
    pub(super) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Notes that the front was sent. What is then waiting has `write_ms` from now.
    pub(super) fn sent(&mut self, size: usize, now: u64, write_ms: u64) {
        self.sent += size;
        if self.sent >= self.bytes.len() {
            *self = Self::new();
            return;
        }
        if self.deadline == u64::MAX || self.sent >= self.mark {
            self.mark = self.bytes.len();
            self.deadline = now.saturating_add(write_ms);
        }
        if self.sent > SENT_KEPT_MAX {
            self.bytes.drain(..self.sent);
            self.mark = self.mark.saturating_sub(self.sent);
            self.sent = 0;
        }
    }

    /// When the peer is a slow reader.
    pub(super) const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Memory held.
    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}
