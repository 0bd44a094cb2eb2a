//! Rows of fields, under a MAC or beside a ciphertext: no two different rows are the same bytes.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Adds a field, preceded by its length in bytes, as 8 bytes, big-endian.
pub(crate) fn put_field(mac: &mut Hmac<Sha256>, field: &[u8]) {
    mac.update(&(field.len() as u64).to_be_bytes());
    mac.update(field);
}

/// The same row as bytes.
pub(crate) fn row<const FIELDS: usize>(fields: [&str; FIELDS]) -> Vec<u8> {
    let length = fields
        .iter()
        .map(|field| size_of::<u64>() + field.len())
        .sum();
    let mut row = Vec::with_capacity(length);
    for field in fields {
        row.extend_from_slice(&(field.len() as u64).to_be_bytes());
        row.extend_from_slice(field.as_bytes());
    }
    row
}
