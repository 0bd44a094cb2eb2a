//! Who is connected: for each connection its device, since when, and the address it came from.
//!
//! Made for very many connections that do nothing: a record of 56 bytes and two 32-bit places in
//! hash tables each, where objects of Python cost ten times as much. Addresses are kept once,
//! however many connections share them.
//!
//! A device may hold several connections; they are given oldest first.

mod labels;
mod name;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use labels::Labels;
use name::Name;

#[derive(Debug)]
struct Record {
    connection: u64,
    device: Name,
    /// The order of coming: connection numbers need not grow.
    arrival: u64,
    since_ms: i64,
    address: Option<u32>,
}

/// All connections whose device is known.
#[derive(Debug, Default)]
pub struct PresenceTable {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    by_connection: HashTable<u32>,
    by_device: HashTable<u32>,
    addresses: Labels,
    arrivals: u64,
    hasher: RandomState,
}

impl PresenceTable {
    /// Counts one more connection of an address: how many there are now.
    pub fn hold(&mut self, address: &str) -> u32 {
        self.addresses.hold(address)
    }

    /// Counts one less.
    pub fn release(&mut self, address: &str) {
        self.addresses.release(address);
    }

    /// Notes a connection's device. An address given here was held before, and is released when
    /// the connection leaves. A connection that is noted already leaves first.
    pub fn arrive(&mut self, connection: u64, device: &str, address: Option<&str>, now_ms: i64) {
        self.leave(connection);
        let place = self.free.pop().unwrap_or_else(|| {
            self.records.push(None);
            u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
        });
        let record = Record {
            connection,
            device: Name::new(device),
            arrival: self.arrivals,
            since_ms: now_ms,
            address: address.and_then(|address| self.addresses.place_of(address)),
        };
        self.arrivals += 1;
        let device_hash = self.hasher.hash_one(&record.device);
        let connection_hash = self.hasher.hash_one(connection);
        self.records[place as usize] = Some(record);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_connection
            .insert_unique(connection_hash, place, |place| {
                records[*place as usize]
                    .as_ref()
                    .map_or(0, |record| hasher.hash_one(record.connection))
            });
        self.by_device.insert_unique(device_hash, place, |place| {
            records[*place as usize]
                .as_ref()
                .map_or(0, |record| hasher.hash_one(&record.device))
        });
    }

    /// Forgets a connection; whether it was known.
    pub fn leave(&mut self, connection: u64) -> bool {
        let hash = self.hasher.hash_one(connection);
        let records = &self.records;
        let Ok(entry) = self.by_connection.find_entry(hash, |place| {
            records[*place as usize]
                .as_ref()
                .is_some_and(|record| record.connection == connection)
        }) else {
            return false;
        };
        let (place, _) = entry.remove();
        let Some(record) = self.records[place as usize].take() else {
            return false;
        };
        let hash = self.hasher.hash_one(&record.device);
        if let Ok(entry) = self.by_device.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        if let Some(address) = record.address {
            self.addresses.release_at(address);
        }
        self.free.push(place);
        true
    }

    /// The device of a connection.
    #[must_use]
    pub fn device_of(&self, connection: u64) -> Option<String> {
        let hash = self.hasher.hash_one(connection);
        let place = self.by_connection.find(hash, |place| {
            self.records[*place as usize]
                .as_ref()
                .is_some_and(|record| record.connection == connection)
        })?;
        let record = self.records[*place as usize].as_ref()?;
        Some(record.device.to_text())
    }

    /// The connections of a device, oldest first.
    #[must_use]
    pub fn connections_of(&self, device: &str) -> Vec<u64> {
        let mut found: Vec<(u64, u64)> = self
            .records_of(&Name::new(device))
            .map(|record| (record.arrival, record.connection))
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .map(|(_, connection)| connection)
            .collect()
    }

    /// When a device's oldest connection came.
    #[must_use]
    pub fn since_ms(&self, device: &str) -> Option<i64> {
        self.records_of(&Name::new(device))
            .min_by_key(|record| record.arrival)
            .map(|record| record.since_ms)
    }

    /// Connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    fn records_of<'a>(&'a self, device: &'a Name) -> impl Iterator<Item = &'a Record> {
        self.by_device
            .iter_hash(self.hasher.hash_one(device))
            .filter_map(|place| self.records[*place as usize].as_ref())
            .filter(move |record| record.device == *device)
    }
}
