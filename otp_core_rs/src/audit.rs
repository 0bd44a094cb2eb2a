//! The hash chain of an audit trail: no entry can change unseen by those behind it.

use sha2::{Digest, Sha256};

/// The size of a hash.
pub const HASH_BYTES: usize = 32;

/// The hash of an entry after the one with the hash `previous`.
///
/// ```text
/// SHA-256(previous || field || field || ...)
/// ```
///
/// with every field preceded by its length in bytes, as 4 bytes, big-endian. Stores keep it.
#[must_use]
pub fn hash_after<'a>(
    previous: &[u8; HASH_BYTES],
    fields: impl IntoIterator<Item = &'a str>,
) -> [u8; HASH_BYTES] {
    let mut hash = Sha256::new_with_prefix(previous);
    for field in fields {
        // one of 4 GiB or more is in no entry; its length would only be told modulo 2^32
        hash.update(&(field.len() as u64).to_be_bytes()[4..]);
        hash.update(field);
    }
    hash.finalize().into()
}
