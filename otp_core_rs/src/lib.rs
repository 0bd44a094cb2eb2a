//! The core of otp-server: deterministic, without clock or I/O, `unsafe` forbidden.
//!
//! | module       | what is there                                                             |
//! |--------------|---------------------------------------------------------------------------|
//! | [`error`]    | the one error enum                                                        |
//! | [`haptic`]   | `HapticFrame`s and the protobuf messages inside them                      |
//! | [`passcode`] | alphabets, unbiased drawing and derivation, keyed digests, comparison     |
//! | [`limit`]    | exact sliding windows, several per key, in a bounded table                |
//! | `python`     | the binding `otp_server.core._native`; the only folder that names `pyo3`  |
//!
//! `python` may use everything; `haptic`, `passcode` and `limit` are strangers to each other and
//! use only `error`. Time is an argument, in integer milliseconds. Randomness is an argument of
//! the pure functions; [`passcode::draw::os_random`] alone reads the operating system.

pub mod error;
pub mod haptic;
pub mod limit;
pub mod passcode;
#[cfg(feature = "python")]
mod python;
#[cfg(target_os = "linux")]
pub mod reactor;
pub mod session;
pub mod ws;
