//! The core of otp-server: deterministic, without a clock of its own, `unsafe` forbidden.
//!
//! | module       | what is there                                                             |
//! |--------------|---------------------------------------------------------------------------|
//! | [`error`]    | the one error enum                                                        |
//! | [`haptic`]   | `HapticFrame`s and the protobuf messages inside them                      |
//! | [`ws`]       | RFC 6455, server side, sans-I/O                                           |
//! | [`http`]     | HTTP/1.1, server side, sans-I/O: the hot operations of a connection       |
//! | [`session`]  | one device connection, sans-I/O: `ws`, `haptic` and deadlines             |
//! | [`reactor`]  | all sockets of a listener in one epoll set; the only ones here (Linux)    |
//! | [`presence`] | which device is behind which connection                                   |
//! | [`passcode`] | alphabets, unbiased drawing and derivation, keyed digests, comparison     |
//! | [`contact`]  | contacts as stores keep them: sealed, and the keyed index of them         |
//! | [`audit`]    | the hash chain of the audit trail                                         |
//! | [`json`]     | JSON that is beyond doubt, told in one pass                               |
//! | [`limit`]    | exact sliding windows, several per key, in bounded tables; rows of limits |
//! | `python`     | the binding `otp_server.core._native`; the only folder that names `pyo3`  |
//!
//! `python` may use everything; `reactor` uses `session`, which uses `ws` and `haptic`, and `http`;
//! these, `passcode`, `contact`, `audit`, `limit`, `presence` and `json` are strangers to each other
//! and use only `error` (and `fields`, which makes rows of texts). Time is an argument, in integer
//! milliseconds; the reactor alone reads a clock, to bound the time of a poll. Randomness is an
//! argument of the pure functions; [`passcode::draw::os_random`] reads the operating system.

pub mod audit;
pub mod contact;
pub mod error;
mod fields;
pub mod haptic;
pub mod http;
pub mod json;
pub mod limit;
mod outbox;
pub mod passcode;
pub mod presence;
#[cfg(feature = "python")]
mod python;
#[cfg(target_os = "linux")]
pub mod reactor;
pub mod session;
pub mod ws;
