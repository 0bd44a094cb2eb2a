//! Keys by id: the first makes, the others still check what they once made.
//!
//! Rotation puts a new key in front and loses no live passcode: the digests of a typed passcode
//! are computed under every key, and a derivation names the key it was made with.

use std::fmt;

use super::digest::{DIGEST_BYTES, Key, Scope};
use super::draw::{Sampler, os_random};
use super::{Alphabet, Passcode};
use crate::error::Error;

/// The longest key id, in characters.
pub const KEY_ID_CHARACTERS_MAX: usize = 64;

/// The digests of one passcode, under every key, the current one first.
pub type Digests = Vec<[u8; DIGEST_BYTES]>;

/// Keys by id, the current one first. `Debug` shows ids only.
pub struct Keyring(Vec<(String, Key)>);

impl Keyring {
    /// A ring of these ids and secrets.
    ///
    /// # Errors
    /// [`Error::Value`] for no key, a short key, or an id that is empty, too long or used twice.
    pub fn new<'key>(
        keys: impl IntoIterator<Item = (&'key str, &'key [u8])>,
    ) -> Result<Self, Error> {
        let mut ring: Vec<(String, Key)> = Vec::new();
        for (key_id, secret) in keys {
            if !(1..=KEY_ID_CHARACTERS_MAX).contains(&key_id.chars().count()) {
                return Err(Error::Value("a key id has 1 to 64 characters"));
            }
            if ring.iter().any(|(taken, _)| taken == key_id) {
                return Err(Error::Value("a key id is used twice"));
            }
            ring.push((key_id.to_owned(), Key::new(secret)?));
        }
        if ring.is_empty() {
            return Err(Error::Value("a keyring has at least one key"));
        }
        Ok(Self(ring))
    }

    /// The ids, the current one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key_id, _)| key_id.as_str())
    }

    /// The digest of a passcode under every key.
    #[must_use]
    pub fn digests(&self, scope: Scope<'_>, passcode: &Passcode) -> Digests {
        self.0
            .iter()
            .map(|(_, key)| key.digest(scope, passcode))
            .collect()
    }

    /// Fresh passcodes from the operating system's CSPRNG, each with its digests.
    ///
    /// # Errors
    /// [`Error::Value`] for a length outside 1..=32, [`Error::Random`] when the source fails.
    pub fn draw(
        &self,
        scope: Scope<'_>,
        alphabet: Alphabet,
        length: usize,
        count: usize,
    ) -> Result<Vec<(Passcode, Digests)>, Error> {
        super::check_length(length)?;
        let mut sampler = Sampler::new(os_random);
        (0..count)
            .map(|_| {
                let passcode = sampler.passcode(alphabet, length)?;
                let digests = self.digests(scope, &passcode);
                Ok((passcode, digests))
            })
            .collect()
    }

    /// The passcode of a challenge: the same arguments give the same passcode.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], or [`Error::Value`] for a length outside 1..=32.
    pub fn derive(
        &self,
        key_id: &str,
        scope: Scope<'_>,
        generation: u64,
        alphabet: Alphabet,
        length: usize,
    ) -> Result<Passcode, Error> {
        let (_, key) = self
            .0
            .iter()
            .find(|(held, _)| held == key_id)
            .ok_or_else(|| Error::UnknownKey(key_id.to_owned()))?;
        Sampler::new(key.derivation(scope, generation)).passcode(alphabet, length)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring")?;
        formatter.debug_list().entries(self.key_ids()).finish()
    }
}
