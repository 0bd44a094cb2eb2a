//! RFC 6455, server side, sans-I/O: bytes in, pieces of messages out. No clock, no socket.
//!
//! | module         | what is there                                                        |
//! |----------------|----------------------------------------------------------------------|
//! | [`handshake`]  | the upgrade request and its answers (section 4)                      |
//! | [`frame`]      | frame headers, read and written (section 5.2)                        |
//! | [`mask`]       | client-to-server masking (section 5.3)                               |
//! | [`utf8`]       | text that comes in pieces (section 8.1)                              |
//! | [`connection`] | what a peer may send after the upgrade (sections 5.4, 5.5, 7)        |
//!
//! No extension is spoken, so reserved bits are always a fault. Every bound is checked on the
//! header, before one byte of payload is looked at; payloads are handed on as borrowed pieces of
//! the caller's buffer, and nothing of a message is kept.

pub mod connection;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod utf8;

/// Section 7.4.1: the purpose of the connection is fulfilled.
pub const NORMAL_CLOSURE: u16 = 1000;
/// Section 7.4.1: a breach of the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Section 7.4.1: text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;

/// How a peer broke the WebSocket protocol or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A breach of RFC 6455, in words: close code 1002.
    Protocol(&'static str),
    /// Text or a close reason that is not UTF-8: close code 1007.
    NotUtf8,
    /// Text where only bytes are spoken: close code 1003.
    Text,
    /// A message beyond the limit in bytes: close code 1009.
    MessageTooLarge,
    /// A message in more fragments than the limit: close code 1008.
    TooManyFragments,
}
