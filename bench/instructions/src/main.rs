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
use otp_core_rs::limit::table::SlidingWindows;
use otp_core_rs::passcode::digest::{Scope, verify_digest};
use otp_core_rs::passcode::draw::{BLOCK_BYTES, Sampler};
use otp_core_rs::passcode::keyring::Keyring;
use otp_core_rs::passcode::{Alphabet, Passcode};

const SCOPE: Scope<'static> = Scope {
    domain: "device",
    tenant: "",
    challenge: b"",
};
const CANDIDATES: usize = 4;
const LENGTH: usize = 6;
const EXPIRES_AT_MS: u64 = 1_790_000_000_123;

type Failure = Box<dyn std::error::Error>;
type Operation = (&'static str, fn(u32) -> Result<(), Failure>);

const OPERATIONS: [Operation; 7] = [
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
