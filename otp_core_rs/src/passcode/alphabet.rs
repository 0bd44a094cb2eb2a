//! The alphabets a passcode can be made of.
//!
//! | name           | symbols          | count | bits sampled | accepted |
//! |----------------|------------------|-------|--------------|----------|
//! | `numeric`      | `0`-`9`          | 10    | 4            | 10/16    |
//! | `alphanumeric` | `0`-`9`, `A`-`Z` | 36    | 6            | 36/64    |
//! | `alphabetic`   | `A`-`Z`          | 26    | 5            | 26/32    |
//! | `unambiguous`  | see below        | 20    | 5            | 20/32    |
//!
//! `unambiguous` is `BCDFGHJKLMNPQRSTVWXZ` (RFC 8628 section 6.1): no vowels, so no words, and
//! neither `Y` nor digits, which are mistaken for other letters.

use crate::error::Error;

/// A set of symbols, all of them ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Digits.
    Numeric,
    /// Digits and uppercase Latin letters.
    Alphanumeric,
    /// Uppercase Latin letters.
    Alphabetic,
    /// Twenty uppercase consonants (RFC 8628 section 6.1).
    Unambiguous,
}

impl Alphabet {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Numeric,
        Self::Alphanumeric,
        Self::Alphabetic,
        Self::Unambiguous,
    ];

    /// The alphabet of this name.
    ///
    /// # Errors
    /// [`Error::Value`] for a name that is not in the table above.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|alphabet| alphabet.name() == name)
            .ok_or(Error::Value(
                "an alphabet is numeric, alphanumeric, alphabetic or unambiguous",
            ))
    }

    /// The name that configurations and interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Alphanumeric => "alphanumeric",
            Self::Alphabetic => "alphabetic",
            Self::Unambiguous => "unambiguous",
        }
    }

    /// The symbols, in the order in which sampled numbers select them.
    #[must_use]
    pub const fn symbols(self) -> &'static [u8] {
        match self {
            Self::Numeric => b"0123456789",
            Self::Alphanumeric => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Self::Alphabetic => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Self::Unambiguous => b"BCDFGHJKLMNPQRSTVWXZ",
        }
    }
}
