//! Why a connection ended.

use crate::haptic::codec::FrameFault;
use crate::ws::{self, Fault};

/// A kind of `proto/errors.toml` that the core closes with by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too many bytes or fragments.
    Flooded,
    /// A frame or message over its limit.
    FrameTooLarge,
    /// A frame's length below its header.
    FrameTooShort,
    /// A begun frame was not finished in time.
    FrameStalled,
    /// A bug of ours.
    Internal,
    /// Pings were not answered.
    PingTimeout,
    /// A breach of RFC 6455.
    ProtocolError,
    /// Answers were not read in time.
    SlowReader,
    /// A text message.
    TextMessage,
}

impl Kind {
    /// All of them, for the comparison with `proto/errors.toml`.
    pub const ALL: [Self; 9] = [
        Self::Flooded,
        Self::FrameStalled,
        Self::FrameTooLarge,
        Self::FrameTooShort,
        Self::Internal,
        Self::PingTimeout,
        Self::ProtocolError,
        Self::SlowReader,
        Self::TextMessage,
    ];

    /// The token, which is also the close reason.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Flooded => "flooded",
            Self::FrameTooLarge => "frame_too_large",
            Self::FrameTooShort => "frame_too_short",
            Self::FrameStalled => "frame_stalled",
            Self::Internal => "internal",
            Self::PingTimeout => "ping_timeout",
            Self::ProtocolError => "protocol_error",
            Self::SlowReader => "slow_reader",
            Self::TextMessage => "text_message",
        }
    }

    /// The close code.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Flooded => 1008,
            Self::FrameTooLarge => 1009,
            Self::FrameTooShort | Self::FrameStalled | Self::ProtocolError => ws::PROTOCOL_ERROR,
            Self::Internal | Self::PingTimeout => 1011,
            Self::SlowReader => 1013,
            Self::TextMessage => 1003,
        }
    }
}

impl From<FrameFault> for Kind {
    fn from(fault: FrameFault) -> Self {
        match fault {
            FrameFault::TooShort => Self::FrameTooShort,
            FrameFault::TooLarge => Self::FrameTooLarge,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed or went away.
    Peer,
    /// The core closed it.
    Core(Kind),
    /// The caller closed it.
    Asked,
}

/// The close code that answers a fault, and the kind whose token is the reason.
pub(super) const fn of_fault(fault: Fault) -> (u16, Kind) {
    let kind = match fault {
        Fault::NotUtf8 => return (ws::INVALID_PAYLOAD, Kind::ProtocolError),
        Fault::Protocol(_) => Kind::ProtocolError,
        Fault::Text => Kind::TextMessage,
        Fault::MessageTooLarge => Kind::FrameTooLarge,
        Fault::TooManyFragments => Kind::Flooded,
    };
    (kind.close_code(), kind)
}
