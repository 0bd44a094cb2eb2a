//! Keyed digests of passcodes, and their comparison.
//!
//! A short code can be found by trying all of them, unless trying needs a key that is not stored
//! beside the digest. So what is stored is
//!
//! ```text
//! HMAC-SHA-256(key, label || domain || tenant || challenge || last field)
//! ```
//!
//! with every field after the label preceded by its length in bytes, as 8 bytes, big-endian, so
//! that no two different rows of fields are the same bytes. The label separates the uses of one
//! key: no label is the beginning of another, so a digest is never a block of a derivation.
//!
//! | label                           | last field                              | made by  |
//! |---------------------------------|-----------------------------------------|----------|
//! | `otp-server/passcode/digest/v1` | the passcode                            | `digest` |
//! | `otp-server/passcode/derive/v1` | generation and block number, 8 bytes each | `derive` |

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::Passcode;
use super::draw::BLOCK_BYTES;
use crate::error::Error;
use crate::fields::put_field;

/// The size of a digest.
pub const DIGEST_BYTES: usize = 32;

/// A key shorter than the hash's output weakens HMAC (RFC 2104 section 3).
pub const KEY_BYTES_MIN: usize = 32;

const DIGEST_LABEL: &[u8] = b"otp-server/passcode/digest/v1";
const DERIVE_LABEL: &[u8] = b"otp-server/passcode/derive/v1";

/// What a passcode belongs to: a code right in one place is wrong in every other.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'scope> {
    /// The face that issued it.
    pub domain: &'scope str,
    /// Whose it is.
    pub tenant: &'scope str,
    /// The challenge it answers; empty where the passcode alone must find it.
    pub challenge: &'scope [u8],
}

/// A key with its schedule computed once; wiped when dropped, without `Debug`.
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key of these bytes.
    ///
    /// # Errors
    /// [`Error::Value`] for less than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, Error> {
        const TOO_SHORT: Error = Error::Value("a key has 32 bytes or more");
        if secret.len() < KEY_BYTES_MIN {
            return Err(TOO_SHORT);
        }
        Hmac::new_from_slice(secret)
            .map(Self)
            .map_err(|_| TOO_SHORT)
    }

    /// The digest that is stored instead of the passcode.
    #[must_use]
    pub fn digest(&self, scope: Scope<'_>, passcode: &Passcode) -> [u8; DIGEST_BYTES] {
        let mut mac = self.scoped(DIGEST_LABEL, scope);
        put_field(&mut mac, &passcode.characters);
        mac.finalize().into_bytes().into()
    }

    /// The random-looking blocks of a derivation, in counter mode: a source for a `Sampler`.
    pub fn derivation(
        &self,
        scope: Scope<'_>,
        generation: u64,
    ) -> impl FnMut(&mut [u8; BLOCK_BYTES]) -> Result<(), Error> + use<> {
        let mut prefix = self.scoped(DERIVE_LABEL, scope);
        prefix.update(&generation.to_be_bytes());
        let mut counter = 0_u64;
        move |block| {
            let mut mac = prefix.clone();
            mac.update(&counter.to_be_bytes());
            counter += 1;
            let bytes = Zeroizing::new(<[u8; BLOCK_BYTES]>::from(mac.finalize().into_bytes()));
            block.copy_from_slice(&*bytes);
            Ok(())
        }
    }

    fn scoped(&self, label: &[u8], scope: Scope<'_>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(label);
        put_field(&mut mac, scope.domain.as_bytes());
        put_field(&mut mac, scope.tenant.as_bytes());
        put_field(&mut mac, scope.challenge);
        mac
    }
}

/// Whether `stored` is one of `candidates`, in a time that depends on lengths and counts only.
///
/// All candidates are always compared. An empty `stored` is no digest and equals nothing.
pub fn verify_digest<'digest>(
    stored: &[u8],
    candidates: impl IntoIterator<Item = &'digest [u8]>,
) -> bool {
    let found = candidates
        .into_iter()
        .fold(Choice::from(0), |found, candidate| {
            found | stored.ct_eq(candidate)
        });
    !stored.is_empty() & bool::from(found)
}
