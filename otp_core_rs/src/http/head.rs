//! A request's head, read strictly.
//!
//! httparse makes the tokens. It is lenient where RFC 9112 lets a server be: with bare LF (which
//! `section` has refused), with small letters in a method, with other than ASCII in a target. What
//! it leaves to others is here too: where the body ends, Host, and what `Connection` asks for.

use std::mem::MaybeUninit;

use super::offence::{Offence, is_method, is_target, of_section};
use super::request::{Request, Span};

/// Header lines of a request, and of a trailer.
pub const FIELDS_MAX: usize = 100;

/// HTTP/2 with prior knowledge begins so (RFC 9113, section 3.4).
const HTTP2_PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// Decimal digits of a length: 18 are always a `u64`.
const LENGTH_DIGITS_MAX: usize = 18;

/// Where httparse puts the fields it finds.
pub(super) type Room<'head> = [MaybeUninit<httparse::Header<'head>>; FIELDS_MAX];

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// What a head says.
#[derive(Debug)]
pub(super) struct Head<'room, 'head> {
    bytes: &'head [u8],
    fields: &'room [httparse::Header<'head>],
    pub(super) method: &'head str,
    /// The target, before its question mark and behind it.
    pub(super) path: &'head str,
    query: &'head str,
    pub(super) body: Body,
    /// No other request comes after it.
    pub(super) last: bool,
    /// The body waits for a word of ours.
    pub(super) expects: bool,
    /// Something else is to be spoken after it.
    pub(super) upgrades: bool,
}

/// Whether the other listener is to hear of a head, though it is no request of HTTP/1.1.
pub(super) fn is_http2(head: &[u8]) -> bool {
    head == HTTP2_PREFACE_HEAD
}

/// Reads a head that [`Section`](super::section::Section) has found and that begins with a character
/// of a method: empty lines before one, which httparse passes over, are refused before.
///
/// # Errors
/// The first offence: those of the lines, then those of what they say.
pub(super) fn parse<'room, 'head>(
    bytes: &'head [u8],
    room: &'room mut Room<'head>,
) -> Result<Head<'room, 'head>, Offence> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(size)) if size == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Offence::TooLarge),
        _ => return Err(of_section(bytes, true)),
    }
    let (method, target) = (
        parsed.method.unwrap_or_default(),
        parsed.path.unwrap_or_default(),
    );
    if !is_method(method.as_bytes()) || !is_target(target.as_bytes()) {
        return Err(of_section(bytes, true));
    }
    let is_old = parsed.version == Some(0);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head {
        bytes,
        fields: parsed.headers,
        method,
        path,
        query,
        body: Body::Length(0),
        last: is_old,
        expects: false,
        upgrades: false,
    };
    let hosts = head.read_fields(is_old)?;
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Offence::Host);
    }
    if !target.starts_with('/') && target != "*" && method != "CONNECT" {
        return Err(Offence::Target);
    }
    Ok(head)
}

impl Head<'_, '_> {
    /// Notes what the fields mean to us, and counts Host.
    fn read_fields(&mut self, is_old: bool) -> Result<usize, Offence> {
        let (mut length, mut coding) = (None, None);
        let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
        for field in self.fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("host") {
                hosts += 1;
            } else if is("content-length") {
                (length, lengths) = (Some(field.value), lengths + 1);
            } else if is("transfer-encoding") {
                (coding, codings) = (Some(field.value), codings + 1);
            } else if is("connection") {
                self.last |= has_word(field.value, b"close");
            } else if is("expect") {
                self.expects |= !is_old && has_word(field.value, b"100-continue");
            } else if is("upgrade") {
                self.upgrades = true;
            }
        }
        if lengths > 0 && codings > 0 {
            return Err(Offence::LengthAndCoding);
        }
        if lengths > 1 || codings > 1 {
            return Err(Offence::Repeated);
        }
        if let Some(length) = length {
            self.body = Body::Length(number_in(blanks_off(length)).ok_or(Offence::Length)?);
        }
        if let Some(coding) = coding {
            if is_old || !blanks_off(coding).eq_ignore_ascii_case(b"chunked") {
                return Err(Offence::Coding);
            }
            self.body = Body::Chunked;
        }
        Ok(hosts)
    }

    /// The request, yet without a body.
    pub(super) fn request(&self, number: u32, route: u16, parameters: &[&str]) -> Request {
        let part = |text: &str| Span::of(text.as_bytes(), self.bytes);
        let mut bytes = self.bytes.to_vec();
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            let name = part(field.name);
            name.in_mut(&mut bytes).make_ascii_lowercase();
            fields.push((name, Span::of(blanks_off(field.value), self.bytes)));
        }
        Request {
            number,
            route,
            body: Some(Vec::new()),
            head: bytes,
            method: part(self.method),
            query: part(self.query),
            fields,
            parameters: parameters.iter().map(|text| part(text)).collect(),
        }
    }
}

/// Checks the fields of a trailer, which nobody needs.
pub(super) fn check_trailer(bytes: &[u8]) -> Result<(), Offence> {
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete((size, _))) if size == bytes.len() => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(Offence::TooLarge),
        _ => Err(of_section(bytes, false)),
    }
}

fn number_in(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

fn blanks_off(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn has_word(value: &[u8], word: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|found| blanks_off(found).eq_ignore_ascii_case(word))
}
