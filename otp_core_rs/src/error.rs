//! The one error enum of the crate.
//!
//! No variant carries a passcode, a key or a payload: an error may be logged as it is.

use std::fmt;

use crate::haptic::wire::WireFault;

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An argument is outside its documented range. The text says which and never quotes it.
    Value(&'static str),
    /// A protobuf message of the peer cannot be read.
    Wire(WireFault),
    /// A bounded table holds only keys in use and has no room for one more.
    LimiterFull,
    /// No key of the ring has this id.
    UnknownKey(String),
    /// The operating system's random source failed.
    Random(getrandom::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => formatter.write_str(text),
            Self::Wire(fault) => fault.fmt(formatter),
            Self::LimiterFull => formatter.write_str("every key of the limiter table is in use"),
            Self::UnknownKey(key_id) => write!(formatter, "no key has the id {key_id:?}"),
            Self::Random(error) => write!(formatter, "the random source failed: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<WireFault> for Error {
    fn from(fault: WireFault) -> Self {
        Self::Wire(fault)
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}
