//! What is asked, and what a right answer is. Nothing is counted that was not checked here.

/// The frame type of the benches' own request (`SIGNAL`): a server of ours counts and ignores it.
const SIGNAL: u8 = 3;
const OTP_REQUEST: [u8; 3] = [19, 3, 0];
/// A request whose message is cut off: answered `malformed`, without a code and without a limit.
const OTP_RESPONSE: u8 = 20;

/// What a right answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Exactly these bytes.
    Fixed(Vec<u8>),
    /// An `OTP_RESPONSE` with a code, an end and no error.
    Otp,
}

/// A request of `length` bytes: a `HapticFrame` of type `SIGNAL`, so that servers which parse have
/// something to parse and the others the same bytes.
///
/// # Errors
/// A sentence for lengths no frame can have.
pub fn request(length: usize) -> Result<Vec<u8>, String> {
    haptic(SIGNAL, length)
}

/// The answer that the floor, the peers and the echo face give: type `OTP_RESPONSE`, counted bytes.
///
/// # Errors
/// A sentence for lengths no frame can have.
pub fn fixed_answer(length: usize) -> Result<Vec<u8>, String> {
    haptic(OTP_RESPONSE, length)
}

/// The request of a device for a code.
#[must_use]
pub const fn otp_request() -> [u8; 3] {
    OTP_REQUEST
}

fn haptic(frame_type: u8, length: usize) -> Result<Vec<u8>, String> {
    let total = u16::try_from(length)
        .ok()
        .filter(|total| *total >= 3)
        .ok_or_else(|| format!("a frame has 3 to 65535 bytes, not {length}"))?;
    let [low, high] = total.to_le_bytes();
    let mut frame = vec![frame_type, low, high];
    frame.extend((3..length).map(|n| u8::try_from(n % 251).unwrap_or(0)));
    Ok(frame)
}

impl Expect {
    /// Whether `answer` is right.
    ///
    /// # Errors
    /// Why it is not, without quoting it: it may hold a code.
    pub fn check(&self, answer: &[u8]) -> Result<(), String> {
        match self {
            Self::Fixed(right) if answer == right.as_slice() => Ok(()),
            Self::Fixed(right) if answer.len() == right.len() => {
                Err("an answer had other bytes".to_owned())
            }
            Self::Fixed(right) => Err(format!(
                "an answer had {} bytes, not {}",
                answer.len(),
                right.len()
            )),
            Self::Otp => check_otp(answer),
        }
    }
}

fn check_otp(answer: &[u8]) -> Result<(), String> {
    let [frame_type, low, high, message @ ..] = answer else {
        return Err("an answer was shorter than a frame".to_owned());
    };
    if *frame_type != OTP_RESPONSE {
        return Err(format!("an answer was a frame of type {frame_type}"));
    }
    if usize::from(u16::from_le_bytes([*low, *high])) != answer.len() {
        return Err("an answer's length was not its frame's".to_owned());
    }
    let (mut code, mut expires_at_ms, mut rest) = (&b""[..], 0, message);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 2) => code = bytes(&mut rest)?,
            (2, 0) => expires_at_ms = varint(&mut rest)?,
            (3, 2) => {
                let error = bytes(&mut rest)?;
                if !error.is_empty() {
                    return Err(format!("answered {}", String::from_utf8_lossy(error)));
                }
            }
            _ => return Err("an answer held a field that is not OTPResponse's".to_owned()),
        }
    }
    if !(6..=12).contains(&code.len()) || !code.iter().all(u8::is_ascii_digit) {
        return Err("an answer held no code".to_owned());
    }
    if expires_at_ms == 0 {
        return Err("an answer held no end".to_owned());
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or("an answer was cut")?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("an answer held an overlong number".to_owned())
}

fn bytes<'data>(rest: &mut &'data [u8]) -> Result<&'data [u8], String> {
    let length = usize::try_from(varint(rest)?).map_err(|_| "an answer was cut")?;
    let (value, tail) = rest.split_at_checked(length).ok_or("an answer was cut")?;
    *rest = tail;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &[u8], expires: &[u8], error: &[u8]) -> Vec<u8> {
        let mut message = vec![10, u8::try_from(code.len()).expect("short")];
        message.extend_from_slice(code);
        message.push(16);
        message.extend_from_slice(expires);
        if !error.is_empty() {
            message.extend([26, u8::try_from(error.len()).expect("short")]);
            message.extend_from_slice(error);
        }
        let mut frame = vec![20, u8::try_from(message.len() + 3).expect("short"), 0];
        frame.extend(message);
        frame
    }

    #[test]
    fn a_code_with_an_end_is_right() {
        assert_eq!(
            Expect::Otp.check(&answer(b"012345", &[0x80, 1], b"")),
            Ok(())
        );
    }

    #[test]
    fn everything_else_is_wrong() {
        let right = answer(b"012345", &[1], b"");
        for cut in 0..right.len() {
            assert!(Expect::Otp.check(&right[..cut]).is_err(), "cut {cut}");
        }
        let refused = Expect::Otp.check(&answer(b"", &[0], b"rate_limited"));
        assert_eq!(refused, Err("answered rate_limited".to_owned()));
        for wrong in [
            answer(b"12345", &[1], b""),
            answer(b"12345x", &[1], b""),
            answer(b"012345", &[0], b""),
            answer(b"012345", &[1], b"internal"),
            vec![19, 3, 0],
        ] {
            assert!(Expect::Otp.check(&wrong).is_err(), "{wrong:?}");
        }
        let mut trailing = right;
        trailing.push(0);
        assert!(Expect::Otp.check(&trailing).is_err());
    }

    #[test]
    fn a_fixed_answer_is_compared_byte_by_byte() {
        let right = fixed_answer(40).expect("fits");
        let expect = Expect::Fixed(right.clone());
        assert_eq!(right[..3], [20, 40, 0]);
        assert_eq!(expect.check(&right), Ok(()));
        for n in 0..right.len() {
            let mut wrong = right.clone();
            wrong[n] ^= 1;
            assert!(expect.check(&wrong).is_err());
        }
        assert!(expect.check(&right[..39]).is_err());
        assert!(request(2).is_err() && request(70_000).is_err());
        assert_eq!(request(8).expect("fits")[..3], [3, 8, 0]);
    }
}
