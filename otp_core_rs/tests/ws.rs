//! `ws`: masking against the naive loop, text against the standard library, headers, handshakes.

use otp_core_rs::ws::connection::{Connection, MessageRules, Piece};
use otp_core_rs::ws::frame::{self, Opcode};
use otp_core_rs::ws::handshake::{self, HEAD_BYTES_MAX};
use otp_core_rs::ws::utf8::Utf8;
use otp_core_rs::ws::{Fault, mask};
use proptest::prelude::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const RULES: MessageRules = MessageRules {
    text: true,
    bytes_max: 100,
    fragments_max: 3,
};

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("below 126")),
        length => {
            frame.push(0xfe);
            frame.extend(u16::try_from(length).expect("short enough").to_be_bytes());
        }
    }
    frame.extend(KEY);
    let mut payload = payload.to_vec();
    mask::apply(&mut payload, KEY, 0);
    frame.extend(payload);
    frame
}

/// What a peer's stream means, in one word a piece; payload of a message is joined.
fn read(stream: &[u8], size: usize) -> (Vec<String>, Option<Fault>) {
    let mut connection = Connection::default();
    let (mut words, mut message) = (Vec::new(), Vec::new());
    for piece in stream.to_vec().chunks_mut(size.max(1)) {
        let mut data = piece;
        loop {
            match connection.next_piece(&mut data, &RULES) {
                Ok(None) => break,
                Err(fault) => return (words, Some(fault)),
                Ok(Some(Piece::Data {
                    text, payload, end, ..
                })) => {
                    message.extend_from_slice(payload);
                    if end {
                        words.push(format!("{text} {message:?}"));
                        message.clear();
                    }
                }
                Ok(Some(Piece::Ping(payload))) => words.push(format!("ping {payload:?}")),
                Ok(Some(Piece::Pong(payload))) => words.push(format!("pong {payload:?}")),
                Ok(Some(Piece::Close(payload))) => words.push(format!("close {payload:?}")),
            }
        }
    }
    (words, None)
}

fn fault_of(stream: &[u8]) -> Option<Fault> {
    let whole = read(stream, usize::MAX);
    assert_eq!(whole, read(stream, 1));
    whole.1
}

#[test]
fn the_example_of_section_5_7_is_read() {
    let hello = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    let (words, fault) = read(&hello, usize::MAX);
    assert_eq!((words, fault), (vec![format!("true {:?}", b"Hello")], None));
}

#[test]
fn a_ping_between_fragments_comes_first() {
    let stream = [
        client_frame(0x02, b"a"),
        client_frame(0x89, b"now"),
        client_frame(0x80, b"b"),
    ]
    .concat();
    let (words, fault) = read(&stream, usize::MAX);
    assert_eq!(fault, None);
    assert!(words[0].starts_with("ping"));
    assert_eq!(words[1], format!("false {:?}", b"ab"));
}

#[test]
fn breaches_of_the_protocol_are_faults() {
    let bad = [
        client_frame(0x83, b""), // reserved opcodes
        client_frame(0x8b, b""),
        client_frame(0xc2, b""),       // a reserved bit
        vec![0x82, 0x01, 0x00],        // no mask
        client_frame(0x09, b""),       // a control frame in fragments
        client_frame(0x89, &[0; 126]), // and one too long
        client_frame(0x80, b""),       // continues nothing
        [client_frame(0x02, b""), client_frame(0x82, b"")].concat(),
        vec![0x82, 0xfe, 0x00, 0x7d, 0, 0, 0, 0], // lengths longer than needed
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        [&[0x82, 0xff][..], &[0xff; 8], &[0; 4]].concat(), // its highest bit set
        client_frame(0x88, &[3]),                          // close codes
        client_frame(0x88, &1005_u16.to_be_bytes()),
        client_frame(0x88, &999_u16.to_be_bytes()),
        client_frame(0x88, &2999_u16.to_be_bytes()),
        client_frame(0x88, &5000_u16.to_be_bytes()),
    ];
    for stream in &bad {
        assert!(
            matches!(fault_of(stream), Some(Fault::Protocol(_))),
            "{stream:?}"
        );
    }
}

#[test]
fn limits_are_checked_on_the_header() {
    let announced = [0x82, 0xfe, 0x00, 0x7e, 0, 0, 0, 0]; // 126 bytes, none of them there
    assert_eq!(fault_of(&announced), Some(Fault::MessageTooLarge));
    let huge = [0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(fault_of(&huge), Some(Fault::MessageTooLarge));
    let halves = [client_frame(0x02, &[0; 60]), client_frame(0x80, &[0; 60])].concat();
    assert_eq!(fault_of(&halves), Some(Fault::MessageTooLarge));
    let empty = [
        client_frame(0x02, b""),
        client_frame(0x00, b""),
        client_frame(0x00, b""),
        client_frame(0x00, b""),
    ];
    assert_eq!(fault_of(&empty[..3].concat()), None);
    assert_eq!(fault_of(&empty.concat()), Some(Fault::TooManyFragments));
}

#[test]
fn text_must_be_utf8_and_the_fault_comes_early() {
    assert_eq!(fault_of(&client_frame(0x01, b"\xff")), Some(Fault::NotUtf8));
    let cut = [client_frame(0x01, b"\xe2\x82"), client_frame(0x80, b"")].concat();
    assert_eq!(fault_of(&cut), Some(Fault::NotUtf8));
    let joined = [client_frame(0x01, b"\xe2\x82"), client_frame(0x80, b"\xac")].concat();
    assert_eq!(fault_of(&joined), None);
    let reason = client_frame(0x88, b"\x03\xe8\xff");
    assert_eq!(fault_of(&reason), Some(Fault::NotUtf8));
}

#[test]
fn a_begun_message_is_seen() {
    let mut connection = Connection::default();
    assert!(!connection.is_amid());
    let mut begun = client_frame(0x02, b"a");
    let mut data = &mut begun[..];
    while connection.next_piece(&mut data, &RULES).unwrap().is_some() {}
    assert!(connection.is_amid());
}

fn request(change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let mut lines: Vec<String> = [
        "GET /chat?x=1 HTTP/1.1",
        "Host: server.example.com",
        "Upgrade: WebSocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    .map(str::to_owned)
    .into();
    change(&mut lines);
    lines.push("\r\n".to_owned());
    lines.join("\r\n").into_bytes()
}

#[test]
fn the_example_of_section_1_3_is_accepted() {
    let head = request(|_| {});
    assert_eq!(handshake::head_bytes(&head, 0), Some(head.len()));
    let request = handshake::parse_request(&head).unwrap();
    assert_eq!(request.target, "/chat?x=1");
    assert_eq!(request.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(request.headers[0].0, "host");
    let response = handshake::accept_response(&request.accept);
    assert!(response.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    assert!(response.ends_with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
}

#[test]
fn what_is_no_upgrade_is_told_so() {
    type Change = fn(&mut Vec<String>);
    let rows: [(&str, Change); 17] = [
        ("400", |lines| lines[0] = "POST / HTTP/1.1".into()),
        ("505", |lines| lines[0] = "GET / HTTP/1.0".into()),
        ("400", |lines| lines[0] = "rubbish".into()),
        ("400", |lines| drop(lines.remove(1))),
        ("400", |lines| lines.push("Host: another".into())),
        ("400", |lines| lines[2] = "Upgrade: h2c".into()),
        ("400", |lines| lines[3] = "Connection: keep-alive".into()),
        ("400", |lines| {
            lines[4] = "Sec-WebSocket-Key: c2hvcnQ=".into();
        }),
        ("400", |lines| lines[4] = "Sec-WebSocket-Key: ***".into()),
        ("400", |lines| drop(lines.remove(4))),
        ("400", |lines| lines.push(lines[4].clone())),
        ("426", |lines| lines[5] = "Sec-WebSocket-Version: 8".into()),
        ("400", |lines| drop(lines.remove(5))),
        ("400", |lines| lines.push("Content-Length: 5".into())),
        ("400", |lines| {
            lines.push("Transfer-Encoding: chunked".into());
        }),
        ("400", |lines| lines.push("X: bare\nY: line feed".into())),
        ("431", |lines| {
            lines.extend((0..100).map(|n| format!("X-{n}: y")));
        }),
    ];
    for (place, (status, change)) in rows.into_iter().enumerate() {
        let why = handshake::parse_request(&request(change)).unwrap_err();
        assert_eq!(&why.status[..3], status, "row {place}: {why:?}");
        let response = handshake::bad_response(&why);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")));
        assert_eq!(
            response.contains("Sec-WebSocket-Version: 13"),
            status == "426"
        );
    }
}

#[test]
fn frames_of_the_server_have_the_shortest_length() {
    for (size, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let mut out = Vec::new();
        frame::write_frame(&mut out, Opcode::Binary, &vec![7; size]);
        assert_eq!((out.len(), out[0]), (size + header, 0x82));
    }
    let mut out = Vec::new();
    frame::write_close(&mut out, 1008, &"é".repeat(100));
    assert_eq!(out[..4], [0x88, 124, 0x03, 0xf0]);
}

proptest! {
    #[test]
    fn masking_is_the_naive_loop(
        data: Vec<u8>, key: [u8; 4], offset in 0_usize..8, start in 0_usize..9,
    ) {
        let start = start.min(data.len());
        let mut fast = data.clone();
        mask::apply(&mut fast[start..], key, offset);
        let mut naive = data;
        for (place, byte) in naive[start..].iter_mut().enumerate() {
            *byte ^= key[(offset + place) % 4];
        }
        prop_assert_eq!(fast, naive);
    }

    #[test]
    fn text_in_pieces_is_text(
        text in prop_oneof![any::<String>().prop_map(String::into_bytes), any::<Vec<u8>>()],
        size in 1_usize..5,
    ) {
        let mut utf8 = Utf8::default();
        let fits = text.chunks(size).all(|piece| utf8.receive_data(piece)) && utf8.is_complete();
        prop_assert_eq!(fits, std::str::from_utf8(&text).is_ok());
    }

    #[test]
    fn pieces_of_a_stream_mean_what_the_whole_means(
        frames in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        noise: Vec<u8>,
        size in 1_usize..20,
    ) {
        let mut stream: Vec<u8> = frames
            .iter()
            .flat_map(|(first, payload)| client_frame(first & 0x8f, payload))
            .collect();
        stream.extend(noise);
        prop_assert_eq!(read(&stream, usize::MAX), read(&stream, size));
    }

    #[test]
    fn a_head_is_found_however_it_comes(before: Vec<u8>, size in 1_usize..9) {
        let mut data = before;
        data.extend(b"\r\n\r\n and more");
        let whole = handshake::head_bytes(&data, 0);
        prop_assert!(whole.is_some());
        let mut seen = 0;
        let mut found = None;
        while found.is_none() {
            let until = (seen + size).min(data.len());
            found = handshake::head_bytes(&data[..until], seen);
            seen = until;
        }
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn no_head_is_a_panic(head in prop::collection::vec(any::<u8>(), 0..HEAD_BYTES_MAX / 16)) {
        let _ = handshake::parse_request(&head);
    }
}
