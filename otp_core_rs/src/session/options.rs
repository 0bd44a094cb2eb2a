//! What a connection may cost and how long it may wait, the same for all connections of a server.

use crate::ws::connection::MessageRules;

/// What is spoken after the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// `HapticFrame`s in binary messages: `proto/device-frames.md`.
    Device,
    /// Every message goes back as it came: for the conformance run.
    Echo,
    /// Panics at the first byte after the upgrade.
    #[cfg(test)]
    Panicking,
}

/// Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// What is spoken after the upgrade.
    pub kind: SessionKind,
    /// A `HapticFrame`, its header included.
    pub frame_bytes_max: usize,
    /// One WebSocket message.
    pub message: MessageRules,
    /// Bytes a peer may send at once, HTTP and all.
    pub burst_bytes: u64,
    /// Bytes a peer may send each second after its burst.
    pub bytes_per_s: u64,
    /// What each read, each WebSocket frame and each `HapticFrame` counts beside its bytes: the
    /// work of a small one is not in its size.
    pub item_bytes: u64,
    /// Bytes that may wait for a peer to read them.
    pub outbox_bytes_max: usize,
    /// From the connection's begin to the answered upgrade.
    pub upgrade_ms: u64,
    /// From a `HapticFrame`'s first byte to its last.
    pub frame_ms: u64,
    /// Between two pings.
    pub ping_interval_ms: u64,
    /// Pings in a row that may stay unanswered; the next due one closes.
    pub ping_misses: u8,
    /// From a close of ours to the end of the connection, what is queued included.
    pub close_ms: u64,
    /// For the peer to take what waits for it.
    pub write_ms: u64,
}

impl Default for SessionOptions {
    /// The limits of `proto/device-frames.md`.
    fn default() -> Self {
        Self {
            kind: SessionKind::Device,
            frame_bytes_max: 1024,
            message: MessageRules {
                text: false,
                bytes_max: 16_384,
                fragments_max: 64,
            },
            burst_bytes: 65_536,
            bytes_per_s: 8_192,
            item_bytes: 32,
            outbox_bytes_max: 65_536,
            upgrade_ms: 5_000,
            frame_ms: 10_000,
            ping_interval_ms: 20_000,
            ping_misses: 2,
            close_ms: 2_000,
            write_ms: 10_000,
        }
    }
}
