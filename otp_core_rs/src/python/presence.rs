//! Who is connected, for Python: [`crate::presence`].

use pyo3::prelude::*;

use super::errors::guarded;
use crate::presence;

/// Who is connected: for each connection its device, since when, and from which address.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct PresenceTable(presence::PresenceTable);

#[pymethods]
impl PresenceTable {
    #[new]
    fn new() -> Self {
        Self(presence::PresenceTable::default())
    }

    /// Count one more connection of an address.
    fn hold(&mut self, address: &str) -> PyResult<u32> {
        guarded(|| Ok(self.0.hold(address)))
    }

    /// Count one less.
    fn release(&mut self, address: &str) -> PyResult<()> {
        guarded(|| {
            self.0.release(address);
            Ok(())
        })
    }

    /// Note a connection's device.
    fn arrive(
        &mut self,
        connection: u64,
        device_id: &str,
        address: Option<&str>,
        now_ms: i64,
    ) -> PyResult<()> {
        guarded(|| {
            self.0.arrive(connection, device_id, address, now_ms);
            Ok(())
        })
    }

    /// Forget a connection; whether it was known.
    fn leave(&mut self, connection: u64) -> PyResult<bool> {
        guarded(|| Ok(self.0.leave(connection)))
    }

    /// The device of a connection.
    fn device_of(&self, connection: u64) -> Option<String> {
        self.0.device_of(connection)
    }

    /// The connections of a device, oldest first.
    fn connections_of(&self, device_id: &str) -> Vec<u64> {
        self.0.connections_of(device_id)
    }

    /// When a device's oldest connection came.
    fn since_ms(&self, device_id: &str) -> Option<i64> {
        self.0.since_ms(device_id)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<PresenceTable connections={}>", self.0.len())
    }
}
