//! Names of devices, small: ours are 32 hexadecimal digits and take 16 bytes.

const HEX_DIGITS: usize = 32;

/// A name. Two are equal where their texts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// 32 lower-case hexadecimal digits.
    Hex([u8; HEX_DIGITS / 2]),
    /// Any other text.
    Text(Box<str>),
}

impl Name {
    pub(super) fn new(text: &str) -> Self {
        let lower = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match u128::from_str_radix(text, 16) {
            Ok(number) if lower && text.len() == HEX_DIGITS => Self::Hex(number.to_be_bytes()),
            _ => Self::Text(text.into()),
        }
    }

    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Hex(bytes) => format!("{:032x}", u128::from_be_bytes(*bytes)),
            Self::Text(text) => text.to_string(),
        }
    }
}
