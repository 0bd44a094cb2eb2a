//! Contacts as stores keep them: sealed, and found and counted by a keyed index.

use std::fmt;
use std::mem::take;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::fields::{put_field, row};

/// The size of an index.
pub const INDEX_BYTES: usize = 32;

/// A key shorter than the hash's output weakens HMAC (RFC 2104 section 3).
pub const KEY_BYTES_MIN: usize = 32;

/// The size of a nonce (RFC 8439 section 2.8).
pub const NONCE_BYTES: usize = 12;

/// What a sealed contact is longer than its contact by, beside the key's id and the nonce.
const TAG_BYTES: usize = 16;

/// A key with its schedule computed once; wiped when dropped. `Debug` shows nothing.
///
/// An index is
///
/// ```text
/// HMAC-SHA-256(key, tenant || channel || contact)
/// ```
///
/// with every field preceded by its length in bytes, as 8 bytes, big-endian. Stores keep it.
pub struct ContactIndex(Hmac<Sha256>);

impl ContactIndex {
    /// Under a key of these bytes.
    ///
    /// # Errors
    /// [`Error::Value`] for less than 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, Error> {
        const TOO_SHORT: Error = Error::Value("a key has 32 bytes or more");
        if key.len() < KEY_BYTES_MIN {
            return Err(TOO_SHORT);
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| TOO_SHORT)
    }

    /// What a contact of a tenant is found by, alike for every contact alike.
    #[must_use]
    pub fn of(&self, tenant: &str, channel: &str, contact: &str) -> [u8; INDEX_BYTES] {
        let mut mac = self.0.clone();
        for field in [tenant, channel, contact] {
            put_field(&mut mac, field.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ContactIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContactIndex")
    }
}

/// A key that seals contacts, and its id; the key is wiped when dropped. `Debug` shows nothing.
///
/// A sealed contact is
///
/// ```text
/// length of the key's id (1 byte) || id || nonce || ChaCha20-Poly1305 (RFC 8439)
/// ```
///
/// Associated data are tenant and channel, each preceded by its length in bytes, as 8 bytes,
/// big-endian. Stores keep it.
pub struct ContactCipher {
    cipher: ChaCha20Poly1305,
    prefix: Vec<u8>,
}

impl ContactCipher {
    /// Under a key of 32 bytes, which goes by this id.
    ///
    /// # Errors
    /// [`Error::Value`] for a key of another size, or an id of more than 255 bytes.
    pub fn new(key: &[u8], key_id: &str) -> Result<Self, Error> {
        let length = u8::try_from(key_id.len())
            .map_err(|_| Error::Value("the id of a contact key is too long"))?;
        let cipher = ChaCha20Poly1305::new_from_slice(key)
            .map_err(|_| Error::Value("a key that seals contacts has 32 bytes"))?;
        let prefix = [&[length], key_id.as_bytes()].concat();
        Ok(Self { cipher, prefix })
    }

    /// The stored form of a contact. No nonce may be used twice.
    ///
    /// # Errors
    /// [`Error::Value`] for a nonce that has not 12 bytes, or a contact of 256 GB.
    pub fn seal(
        &self,
        nonce: &[u8],
        tenant: &str,
        channel: &str,
        contact: &str,
    ) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_BYTES] = nonce
            .try_into()
            .map_err(|_| Error::Value("a nonce has 12 bytes"))?;
        let start = self.prefix.len() + NONCE_BYTES;
        let mut sealed = Vec::with_capacity(start + contact.len() + TAG_BYTES);
        sealed.extend_from_slice(&self.prefix);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(contact.as_bytes());
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &nonce.into(),
                &row([tenant, channel]),
                (&mut sealed[start..]).into(),
            )
            .map_err(|_| Error::Value("a contact is too long"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// The contact, if this key sealed it for this tenant and channel. It is wiped when dropped.
    #[must_use]
    pub fn open(&self, tenant: &str, channel: &str, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let (nonce, rest) = sealed.strip_prefix(&*self.prefix)?.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut contact = Zeroizing::new(ciphertext.to_vec());
        let nonce: [u8; NONCE_BYTES] = *nonce;
        self.cipher
            .decrypt_inout_detached(
                &nonce.into(),
                &row([tenant, channel]),
                contact.as_mut_slice().into(),
                &(*tag).into(),
            )
            .ok()?;
        String::from_utf8(take(&mut contact))
            .ok()
            .map(Zeroizing::new)
    }
}

impl fmt::Debug for ContactCipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContactCipher")
    }
}
