//! The upgrade request and its answers, RFC 6455 section 4.2.
//!
//! Strict where leniency has no use for a device: CRLF only, one Host, one key of 16 bytes, no
//! body. The head is bounded in bytes and in headers before it is read.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The request's head, all of it, with the blank line.
pub const HEAD_BYTES_MAX: usize = 8192;
/// Header lines of a request.
pub const HEADERS_MAX: usize = 100;

const HEAD_END: &[u8] = b"\r\n\r\n";
const KEY_BYTES: usize = 16;
/// Section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A valid upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The request target as it came, query and all.
    pub target: String,
    /// Names in lower case, values as they came, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value of `Sec-WebSocket-Accept` that accepts it.
    pub accept: String,
}

/// Why a request is no upgrade: answered with an HTTP status, and the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRequest {
    /// The status and its name.
    pub status: &'static str,
    /// One sentence for the engineer at the other end.
    pub text: &'static str,
}

const fn bad(text: &'static str) -> BadRequest {
    BadRequest {
        status: "400 Bad Request",
        text,
    }
}

/// A head beyond [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
pub const HEAD_TOO_LARGE: BadRequest = BadRequest {
    status: "431 Request Header Fields Too Large",
    text: "The request head is too large.",
};
const VERSION_UNKNOWN: BadRequest = BadRequest {
    status: "426 Upgrade Required",
    text: "Only WebSocket version 13 is spoken here.",
};
const HTTP_VERSION: BadRequest = BadRequest {
    status: "505 HTTP Version Not Supported",
    text: "Only HTTP/1.1 is spoken here.",
};

/// The size of the head, its blank line included, once it is whole.
///
/// `seen` bytes were looked at before; so a head that comes in pieces is searched once.
#[must_use]
pub fn head_bytes(data: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(HEAD_END.len() - 1);
    data.get(from..)?
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)
        .map(|at| from + at + HEAD_END.len())
}

/// Reads a whole head.
///
/// # Errors
/// [`BadRequest`].
pub fn parse_request(head: &[u8]) -> Result<Request, BadRequest> {
    let mut lines = head.split(|byte| *byte == b'\n');
    if lines.any(|line| !line.is_empty() && !line.ends_with(b"\r")) {
        return Err(bad("Lines end with CRLF."));
    }
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut room);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("The request is not whole.")),
        Err(httparse::Error::TooManyHeaders) => return Err(HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(HTTP_VERSION),
        Err(_) => return Err(bad("The request is no HTTP.")),
    }
    if parsed.version != Some(1) {
        return Err(HTTP_VERSION);
    }
    if parsed.method != Some("GET") {
        return Err(bad("A WebSocket begins with GET."));
    }
    let accept = check(parsed.headers)?;
    Ok(Request {
        target: parsed.path.unwrap_or_default().to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
            .collect(),
        accept,
    })
}

/// Section 4.2.1, line by line; gives what accepts the key.
fn check(headers: &[httparse::Header<'_>]) -> Result<String, BadRequest> {
    if only(headers, "host").is_none() {
        return Err(bad("One Host header is required."));
    }
    if !has_token(headers, "upgrade", "websocket") {
        return Err(bad("The header Upgrade: websocket is required."));
    }
    if !has_token(headers, "connection", "upgrade") {
        return Err(bad("The header Connection: Upgrade is required."));
    }
    let body = named(headers, "content-length").any(|value| value != b"0");
    if body || named(headers, "transfer-encoding").next().is_some() {
        return Err(bad("An upgrade request has no body."));
    }
    if named(headers, "sec-websocket-version").next().is_none() {
        return Err(bad("The header Sec-WebSocket-Version is required."));
    }
    if only(headers, "sec-websocket-version") != Some(b"13") {
        return Err(VERSION_UNKNOWN);
    }
    let key = only(headers, "sec-websocket-key")
        .filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES))
        .ok_or(bad("One Sec-WebSocket-Key of 16 bytes is required."))?;
    Ok(accept_of(key))
}

/// Section 4.2.2, item 5.4.
fn accept_of(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(ACCEPT_GUID)
        .finalize();
    STANDARD.encode(digest)
}

fn named<'headers>(
    headers: &'headers [httparse::Header<'headers>],
    name: &'headers str,
) -> impl Iterator<Item = &'headers [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// The value of a header that must not come twice.
fn only<'headers>(
    headers: &'headers [httparse::Header<'headers>],
    name: &'headers str,
) -> Option<&'headers [u8]> {
    let mut values = named(headers, name);
    let value = values.next();
    if values.next().is_some() { None } else { value }
}

fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    named(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The answer that opens the WebSocket: no sub-protocol, no extension.
#[must_use]
pub fn accept_response(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// The answer to what is no upgrade request.
#[must_use]
pub fn bad_response(why: &BadRequest) -> String {
    let mut response = format!("HTTP/1.1 {}\r\n", why.status);
    if *why == VERSION_UNKNOWN {
        response.push_str("Sec-WebSocket-Version: 13\r\n");
    }
    // Writing to a string cannot fail.
    let _ = write!(
        response,
        "content-type: text/plain\r\ncache-control: no-store\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{}\n",
        why.text.len() + 1,
        why.text
    );
    response
}
