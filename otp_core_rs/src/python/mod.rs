//! The binding `otp_server.core._native`, described by `server/otp_server/core/_native.pyi`
//! and `_limits.pyi` beside it.
//!
//! The only folder that names `pyo3`; each file wraps the pure module of the same name. Nothing
//! here keeps global state, and no calls but those of `poll` are long enough to be worth releasing
//! the GIL.
//!
//! The module declares `gil_used = false`: without `unsafe` there is no data race to protect
//! against. `FrameDecoder`, `SlidingWindows`, `PresenceTable` and the reactors are mutable and belong to
//! one task at a time; two threads inside one object get a `RuntimeError` from PyO3's borrow check.
//! Limits are shared by rows, so each has a lock, which no call holds for long.

use pyo3::pymodule;

mod audit;
mod contacts;
mod errors;
mod frames;
#[cfg(target_os = "linux")]
mod http;
mod integers;
mod json;
mod limit_rows;
mod limits;
mod passcodes;
mod presence;
mod quotas;
#[cfg(target_os = "linux")]
mod reactor;

/// The Rust core of otp-server.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::audit::hash_chain;
    #[pymodule_export]
    use super::contacts::{ContactCipher, ContactIndex};
    #[pymodule_export]
    use super::errors::panic_on_purpose;
    #[pymodule_export]
    use super::frames::{
        Frame, FrameDecoder, FrameFault, decode_auth, decode_otp_request, decode_otp_response,
        encode_frame, encode_otp_code, encode_otp_error,
    };
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use super::http::{HttpBatch, HttpReactor, HttpReactorOptions, HttpRequest};
    #[pymodule_export]
    use super::json::is_plain_json;
    #[pymodule_export]
    use super::limit_rows::{Charges, Limit, LimitRow};
    #[pymodule_export]
    use super::limits::SlidingWindows;
    #[pymodule_export]
    use super::passcodes::{Keyring, Passcode, verify_digest};
    #[pymodule_export]
    use super::presence::PresenceTable;
    #[pymodule_export]
    use super::quotas::{Quota, Quotas};
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use super::reactor::{Reactor, ReactorBatch, ReactorListener, ReactorOptions};
    use crate::session::Kind;
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let error_kinds = PyTuple::new(module.py(), Kind::ALL.map(Kind::token))?;
        module.add("ERROR_KINDS", error_kinds)
    }
}
