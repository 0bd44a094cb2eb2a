// Invariant: a head is found at the same place however it was cut; what is accepted is a GET with
// a target and one Host, within the limits, and its accept value is 28 characters; what is refused
// has an HTTP answer that ends.
//
// The input's first byte is the size of the pieces, the rest is what the client sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::ws::handshake::{self, HEADERS_MAX};

fuzz_target!(|input: &[u8]| {
    let [piece_bytes, data @ ..] = input else {
        return;
    };
    let whole = handshake::head_bytes(data, 0);
    let (mut seen, mut found) = (0, None);
    while found.is_none() && seen < data.len() {
        let until = (seen + usize::from(*piece_bytes).max(1)).min(data.len());
        found = handshake::head_bytes(&data[..until], seen);
        seen = until;
    }
    assert_eq!(whole, found);
    let head = &data[..whole.unwrap_or(data.len())];
    match handshake::parse_request(head) {
        Ok(request) => {
            assert!(head.starts_with(b"GET "));
            assert!(!request.target.is_empty());
            assert_eq!(request.accept.len(), 28);
            assert!(request.headers.len() <= HEADERS_MAX);
            let hosts = request.headers.iter().filter(|(name, _)| name == "host");
            assert_eq!(hosts.count(), 1);
            assert!(handshake::accept_response(&request.accept).ends_with("\r\n\r\n"));
        }
        Err(why) => {
            let response = handshake::bad_response(&why);
            assert!(response.starts_with("HTTP/1.1 4") || response.starts_with("HTTP/1.1 505"));
            assert!(response.ends_with(&format!("\r\n\r\n{}\n", why.text)));
        }
    }
});
