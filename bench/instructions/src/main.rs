//! Each operation of the core, a given number of times, for a counter of instructions.
//!
//! `instructions list` names the operations; `instructions OPERATION TIMES` does one. The caller
//! runs it under callgrind with two numbers of times and divides the difference, so that starting
//! and preparing cost nothing. Every operation asserts its result before it is repeated, and draws
//! no randomness: two runs execute the same instructions.

use std::hint::black_box;
use std::process::ExitCode;

use otp_core_rs::haptic::codec::FrameDecoder;
use otp_core_rs::haptic::messages::{decode_otp_request, encode_otp_response};
use otp_core_rs::http;
use otp_core_rs::limit::table::SlidingWindows;
use otp_core_rs::passcode::digest::{Scope, verify_digest};
use otp_core_rs::passcode::draw::{BLOCK_BYTES, Sampler};
use otp_core_rs::passcode::keyring::Keyring;
use otp_core_rs::passcode::{Alphabet, Passcode};
use otp_core_rs::session::{Event, Session, SessionOptions, Spare};
use otp_core_rs::ws::connection::{Connection, Piece};
use otp_core_rs::ws::handshake::parse_request;
use otp_core_rs::ws::mask;

const SCOPE: Scope<'static> = Scope {
    domain: "device",
    tenant: "",
    challenge: b"",
};
const CANDIDATES: usize = 4;
const LENGTH: usize = 6;
const EXPIRES_AT_MS: u64 = 1_790_000_000_123;
/// As a device sends it: RFC 6455, section 1.3, and a bearer token.
const UPGRADE: &[u8] = b"GET /ws/device HTTP/1.1\r\nHost: 127.0.0.1:8701\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Authorization: Bearer bench-device.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// An `OTP_REQUEST` in one masked binary frame.
const OTP_REQUEST: [u8; 9] = [
    0x82,
    0x83,
    0x37,
    0xfa,
    0x21,
    0x3d,
    0x13 ^ 0x37,
    0x03 ^ 0xfa,
    0x21,
];
const ANSWER_BYTES: usize = 40;
/// As an app's back end sends it.
const HTTP_REQUEST: &[u8] = b"POST /otp/handshake HTTP/1.1\r\nHost: 127.0.0.1:8700\r\n\
    User-Agent: bench/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\n\
    Authorization: Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\
    Content-Length: 50\r\n\r\n{\"type\":\"email-login\",\"email\":\"someone@a.example\"}";
const MS_BETWEEN: u64 = 20; // within what a device may send

type Failure = Box<dyn std::error::Error>;
type Operation = (&'static str, fn(u32) -> Result<(), Failure>);

const OPERATIONS: [Operation; 12] = [
    ("ws_handshake_parse", ws_handshake_parse),
    ("ws_frame_small", ws_frame_small),
    ("ws_unmask_1k", ws_unmask_1k),
    ("session_otp_request", session_otp_request),
    ("http_request", http_request),
    ("haptic_decode", haptic_decode),
    ("otp_request_decode", otp_request_decode),
    ("otp_response_encode", otp_response_encode),
    ("draw_4_candidates", draw_4_candidates),
    ("digest", digest),
    ("verify_digest", verify),
    ("window_reserve", window_reserve),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for (name, _) in OPERATIONS {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        [wanted, times] => match run(wanted, times) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("instructions: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("instructions list | instructions OPERATION TIMES");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &str, times: &str) -> Result<(), Failure> {
    let (_, operation) = OPERATIONS
        .iter()
        .find(|(name, _)| *name == wanted)
        .ok_or("there is no such operation")?;
    let times: u32 = times.parse()?;
    operation(if cfg!(feature = "planted") {
        times * 2
    } else {
        times
    })
}

fn keyring() -> Result<Keyring, Failure> {
    let keys: [(&str, &[u8]); 1] = [("bench", &[7; 32])];
    Ok(Keyring::new(keys)?)
}

fn right(holds: bool) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err("the result is wrong".into())
    }
}

fn ws_handshake_parse(times: u32) -> Result<(), Failure> {
    for _ in 0..times {
        right(parse_request(black_box(UPGRADE)).is_ok_and(|request| request.accept == ACCEPT))?;
    }
    Ok(())
}

fn ws_frame_small(times: u32) -> Result<(), Failure> {
    let rules = SessionOptions::default().message;
    let mut connection = Connection::default();
    for _ in 0..times {
        let mut frame = black_box(OTP_REQUEST);
        let piece = connection.next_piece(&mut &mut frame[..], &rules);
        let whole = matches!(piece, Ok(Some(Piece::Data { payload, end: true, .. })) if payload == [19, 3, 0]);
        right(whole)?;
    }
    Ok(())
}

fn ws_unmask_1k(times: u32) -> Result<(), Failure> {
    let plain = vec![0x5a_u8; 1024];
    let mut data = plain.clone();
    for _ in 0..times {
        mask::apply(black_box(&mut data), black_box(MASK), 0);
    }
    right((data == plain) == times.is_multiple_of(2))
}

/// What one request costs on an open connection, without its system calls and without Python.
fn session_otp_request(times: u32) -> Result<(), Failure> {
    let (options, mut events) = (SessionOptions::default(), Vec::new());
    let mut session = Session::new(0, &options);
    session.receive_data(&mut UPGRADE.to_vec(), 0, &options, &mut events);
    right(matches!(events[..], [Event::Upgrade(_)]))?;
    events.clear();
    session.accept(0, &options, &mut events);
    session.sent(session.data_to_send().len(), 0, &options);
    let answer = [7_u8; ANSWER_BYTES];
    let mut spare = Spare::default();
    for n in 0..u64::from(times) {
        let now = n * MS_BETWEEN;
        let mut frame = black_box(OTP_REQUEST);
        session.receive_data(&mut frame, now, &options, &mut events);
        right(matches!(&events[..], [Event::Frame(frame)] if frame.frame_type == 19))?;
        events.clear();
        session.borrow(&mut spare);
        session.send(black_box(&answer), now, &options, &mut events);
        let size = black_box(session.data_to_send()).len();
        right(size == ANSWER_BYTES + 2)?;
        session.sent(size, now, &options);
        session.give_back(&mut spare);
    }
    right(session.next_deadline().is_some() && events.is_empty())
}

/// What one HTTP request costs on a kept connection, without its system calls and without Python.
fn http_request(times: u32) -> Result<(), Failure> {
    let routes = http::Routes::new(&[
        (Some("POST"), "/otp/init"),
        (Some("POST"), "/otp/handshake"),
        (Some("PUT"), "/otp/{uuid}/attempt"),
    ])?;
    let mut context = http::Context::new(http::Options::new(routes));
    let mut session = http::Session::new(0, &context.options);
    let body = [b'x'; 100];
    let answer = http::Answer {
        status: 200,
        content_type: "application/json",
        headers: &[],
        body: &body,
    };
    for n in 0..u64::from(times) {
        let now = n * MS_BETWEEN;
        session.receive_data(black_box(HTTP_REQUEST), now, &mut context);
        let Some(http::Event::Request(request)) = context.events.pop() else {
            return Err("there is no request".into());
        };
        right(request.route == 1 && request.body.as_ref().is_some_and(|body| body.len() == 50))?;
        session.answer(request.number, black_box(&answer), now, &context);
        let size = black_box(session.data_to_send()).len();
        right(size > body.len())?;
        session.sent(size, now, &mut context);
    }
    right(session.held_bytes() == 0 && session.wants_data())
}

fn haptic_decode(times: u32) -> Result<(), Failure> {
    let mut decoder = FrameDecoder::new(1024)?;
    for _ in 0..times {
        let frames = decoder.receive_data(black_box(&[19, 5, 0, 8, 1]));
        right(matches!(&frames[..], [frame] if frame.frame_type == 19 && frame.payload == [8, 1]))?;
    }
    right(decoder.fault().is_none())
}

fn otp_request_decode(times: u32) -> Result<(), Failure> {
    for _ in 0..times {
        right(decode_otp_request(black_box(&[8, 1])).is_ok_and(|reserved| reserved))?;
    }
    Ok(())
}

fn otp_response_encode(times: u32) -> Result<(), Failure> {
    for _ in 0..times {
        let frame = encode_otp_response(black_box("012345"), black_box(EXPIRES_AT_MS), "")?;
        right(!black_box(frame).is_empty())?;
    }
    Ok(())
}

fn draw_4_candidates(times: u32) -> Result<(), Failure> {
    let keyring = keyring()?;
    for _ in 0..times {
        let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
        let mut sampler = Sampler::new(move |block: &mut [u8; BLOCK_BYTES]| {
            block.fill_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            });
            Ok(())
        });
        for _ in 0..CANDIDATES {
            let passcode = sampler.passcode(Alphabet::Numeric, LENGTH)?;
            right(black_box(keyring.digests(SCOPE, &passcode)).len() == 1)?;
        }
    }
    Ok(())
}

fn digest(times: u32) -> Result<(), Failure> {
    let (keyring, passcode) = (
        keyring()?,
        Passcode::from_text("012345", Alphabet::Numeric)?,
    );
    for _ in 0..times {
        right(black_box(keyring.digests(SCOPE, black_box(&passcode))).len() == 1)?;
    }
    Ok(())
}

fn verify(times: u32) -> Result<(), Failure> {
    let passcode = Passcode::from_text("012345", Alphabet::Numeric)?;
    let found = keyring()?.digests(SCOPE, &passcode);
    for _ in 0..times {
        right(verify_digest(black_box(&found[0]), [&found[0][..]]))?;
    }
    Ok(())
}

fn window_reserve(times: u32) -> Result<(), Failure> {
    let mut windows = SlidingWindows::new(&[(6, 60_000)], 1000)?;
    for n in 0..i64::from(times) {
        // Once in 10 s, as a device may for ever.
        right(windows.reserve(black_box("bench-device"), n * 10_000)? == 0)?;
    }
    right(windows.len() == 1)
}
