//! Passcodes: what they are made of (`alphabet`), how they come about (`draw`, `keyring`), and how
//! they are remembered and compared without being kept (`digest`).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::Error;

pub mod alphabet;
pub mod digest;
pub mod draw;
pub mod keyring;

pub use alphabet::Alphabet;

/// The longest passcode; more than any person types.
pub const PASSCODE_LENGTH_MAX: usize = 32;

/// A code: 1 to 32 characters of an [`Alphabet`].
///
/// `Debug` shows nothing, equality is offered in constant time only and the memory is wiped. The
/// characters live in one heap block that never grows, so that no move and no reallocation leaves
/// a copy behind.
pub struct Passcode {
    characters: Zeroizing<Vec<u8>>,
    alphabet: Alphabet,
}

impl Passcode {
    /// The passcode that a person typed.
    ///
    /// # Errors
    /// [`Error::Value`], without the text, for a wrong length or a character outside the alphabet.
    pub fn from_text(text: &str, alphabet: Alphabet) -> Result<Self, Error> {
        check_length(text.len())?;
        let symbols = alphabet.symbols();
        if !text.bytes().all(|byte| symbols.contains(&byte)) {
            return Err(Error::Value(
                "a passcode has a character outside its alphabet",
            ));
        }
        Ok(Self {
            characters: Zeroizing::new(text.as_bytes().to_vec()),
            alphabet,
        })
    }

    /// The characters, for the one place that shows them to their owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        // All alphabets are ASCII, so the default is never taken; it is here instead of a panic.
        std::str::from_utf8(&self.characters).unwrap_or_default()
    }

    /// How many characters there are: no secret.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a passcode is never empty")]
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Whether both are the same code, in a time that depends on the lengths only.
    ///
    /// Codes of unlike lengths or alphabets are never the same: what those are is no secret.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.alphabet == other.alphabet && bool::from(self.characters.ct_eq(&other.characters))
    }
}

impl fmt::Debug for Passcode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passcode")
    }
}

/// Refuses lengths outside 1..=32.
fn check_length(length: usize) -> Result<(), Error> {
    if (1..=PASSCODE_LENGTH_MAX).contains(&length) {
        Ok(())
    } else {
        Err(Error::Value("a passcode has 1 to 32 characters"))
    }
}
