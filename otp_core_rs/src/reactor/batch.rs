//! What one poll hands over.

use super::table::Id;
use crate::haptic::codec::Frame;
use crate::ws::handshake::Request;

/// A connection that asks to come in.
#[derive(Debug)]
pub struct Upgrade {
    /// Its number.
    pub id: Id,
    /// The address it came from; empty when it is gone already.
    pub peer: String,
    /// Target and headers.
    pub request: Box<Request>,
    /// Whether it came when there were as many connections as may be.
    pub over_limit: bool,
}

/// What happened since the poll before, in the order it happened on each connection.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be answered with [`decide_many`](super::Reactor::decide_many).
    pub upgrades: Vec<Upgrade>,
    /// Frames of devices.
    pub frames: Vec<(Id, Frame)>,
    /// Connections that are gone, each once, and the token of why: `peer`, or a close reason.
    pub closed: Vec<(Id, String)>,
    /// Connections that ended without an upgrade event.
    pub dropped: usize,
    /// Connections lost to a panic, a bug of ours.
    pub panics: usize,
    /// Why accepting pauses: the system's error number, where it ran out of something.
    pub starved: Option<i32>,
    /// Whether work was left for the next poll, for the bounds of this one.
    pub more: bool,
}
