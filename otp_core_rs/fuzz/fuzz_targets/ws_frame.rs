// Invariant: pieces and fault depend on the bytes and not on how they were cut; no message passes
// its limits, no text is other than UTF-8, and payload goes out exactly once.
//
// The input's first byte is the size of the pieces, the second sets the limits, the rest is the
// stream of a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::ws::Fault;
use otp_core_rs::ws::connection::{Connection, ControlPayload, MessageRules, Piece};

#[derive(Debug, Default, PartialEq)]
struct Heard {
    messages: Vec<(bool, Vec<u8>)>,
    begun: Vec<u8>,
    control: Vec<(u8, ControlPayload)>,
    fault: Option<Fault>,
}

fn read(stream: &[u8], size: usize, rules: &MessageRules) -> Heard {
    let mut connection = Connection::default();
    let mut heard = Heard::default();
    for piece in stream.to_vec().chunks_mut(size) {
        let mut data = piece;
        loop {
            match connection.next_piece(&mut data, rules) {
                Ok(None) => break,
                Err(fault) => {
                    heard.fault = Some(fault);
                    heard.begun.clear(); // how much of it came depends on the pieces
                    return heard;
                }
                Ok(Some(Piece::Data { text, payload, end, .. })) => {
                    heard.begun.extend_from_slice(payload);
                    assert!(heard.begun.len() <= rules.bytes_max as usize);
                    if end {
                        let message = std::mem::take(&mut heard.begun);
                        assert!(!text || std::str::from_utf8(&message).is_ok());
                        heard.messages.push((text, message));
                    }
                }
                Ok(Some(Piece::Ping(payload))) => heard.control.push((9, payload)),
                Ok(Some(Piece::Pong(payload))) => heard.control.push((10, payload)),
                Ok(Some(Piece::Close(payload))) => heard.control.push((8, payload)),
            }
        }
    }
    heard
}

fuzz_target!(|input: &[u8]| {
    let [piece_bytes, limits, stream @ ..] = input else {
        return;
    };
    let rules = MessageRules {
        text: limits & 1 == 0,
        bytes_max: 4 * u32::from(*limits),
        fragments_max: 1 + u32::from(limits >> 4),
    };
    let whole = read(stream, usize::MAX, &rules);
    let cut = read(stream, usize::from(*piece_bytes).max(1), &rules);
    assert_eq!(whole, cut);
    let out: usize = whole
        .messages
        .iter()
        .map(|(_, message)| message.len())
        .sum();
    assert!(out <= stream.len());
});
