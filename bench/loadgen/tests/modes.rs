//! Each mode against a small server of threads: what is right is counted, what is wrong is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bench_loadgen::check::fixed_answer;
use bench_loadgen::{modes, options};
use serde_json::Value;

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A masked request of 8 bytes.
const REQUEST_BYTES: usize = 14;

type Answer = fn(usize) -> Vec<u8>;

fn right(_: usize) -> Vec<u8> {
    let mut frame = vec![0x82, 40];
    frame.extend(fixed_answer(40).expect("fits"));
    frame
}

fn wrong_once(number: usize) -> Vec<u8> {
    let mut frame = right(number);
    if number == 3 {
        frame[20] ^= 1;
    }
    frame
}

fn silent_after_three(number: usize) -> Vec<u8> {
    if number < 3 {
        right(number)
    } else {
        Vec::new()
    }
}

/// Answers each connection in a thread of its own, until the peer goes.
fn server(head: &'static [u8], answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || converse(stream, head, answer));
        }
    });
    address
}

fn converse(mut stream: TcpStream, head: &[u8], answer: Answer) {
    let mut buffer = [0; 4096];
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    if stream.write_all(head).is_err() {
        return;
    }
    let mut number = 0;
    while stream.read_exact(&mut buffer[..REQUEST_BYTES]).is_ok() {
        // In two pieces: an answer may come in any.
        let frame = answer(number);
        let (first, second) = frame.split_at(frame.len() / 2);
        if stream.write_all(first).is_err() || stream.write_all(second).is_err() {
            return;
        }
        number += 1;
    }
}

fn run(target: SocketAddr, words: &str) -> Result<Value, String> {
    let line = format!("{words} --target {target} --warmup 0.05 --duration 0.3");
    let options = options::parse(line.split_ascii_whitespace().map(String::from));
    modes::run(&options.expect("a right line").expect("no help"))
}

#[test]
fn closed_counts_right_answers() {
    let report = run(server(UPGRADED, right), "closed --connections 5").expect("a report");
    assert!(report["answers"].as_u64() > Some(10), "{report}");
    assert_eq!(report["unanswered"], 0);
    assert_eq!(report["connections_lost"], 0);
    assert_eq!(report["faults"], serde_json::json!({}));
}

#[test]
fn open_keeps_its_rate() {
    let report =
        run(server(UPGRADED, right), "open --connections 4 --rate 1000").expect("a report");
    assert_eq!(report["asked"], 350);
    assert_eq!(report["unanswered"], 0);
}

#[test]
fn a_wrong_answer_is_a_fault_and_ends_its_connection() {
    let report = run(server(UPGRADED, wrong_once), "closed --connections 2").expect("a report");
    assert_eq!(report["faults"]["an answer had other bytes"], 2);
    assert_eq!(report["connections_lost"], 2);
}

#[test]
fn silence_is_seen() {
    let target = server(UPGRADED, silent_after_three);
    let report = run(target, "open --connections 2 --rate 100").expect("a report");
    assert_eq!(report["unanswered"], 35 - 6);
}

#[test]
fn a_storm_drops_all_and_comes_back() {
    let report =
        run(server(UPGRADED, right), "storm --connections 20 --cycles 2").expect("a report");
    let cycles = report["cycles"].as_array().map_or(0, Vec::len);
    assert!(
        cycles >= 2,
        "as many as asked for, and more until the time is over"
    );
    assert_eq!(report["answers"], 20 * cycles);
    assert_eq!(report["refused"], 0);
}

#[test]
fn a_refused_upgrade_is_told_with_its_status() {
    let target = server(b"HTTP/1.1 401 Unauthorized\r\n\r\n", right);
    let error = run(target, "closed --connections 3").expect_err("refused");
    assert!(error.contains("401 Unauthorized"), "{error}");
    let error = run(SocketAddr::from(([127, 0, 0, 1], 1)), "closed").expect_err("nobody there");
    assert!(error.contains("0 of 64"), "{error}");
}

/// Bytes of answers after which the server of the tests cuts a slow reader.
const CUT_AFTER: usize = 4;

fn cut_after_four(number: usize) -> Vec<u8> {
    assert!(
        number < CUT_AFTER,
        "the thread ends, and with it the connection"
    );
    right(number)
}

#[test]
fn peers_that_do_not_read_are_held_to_the_end() {
    let report = run(server(UPGRADED, right), "slow --connections 2 --rate 100").expect("a report");
    assert!(report["messages_taken"].as_u64() > Some(10), "{report}");
    assert_eq!(report["closed_by_server"], 0);
    assert_eq!(report["still_open"], 2);
    assert_eq!(report["last_closed_s"], Value::Null);
}

#[test]
fn a_slow_peer_that_falls_silent_sends_so_many_messages() {
    let target = server(UPGRADED, right);
    let report = run(target, "slow --connections 2 --rate 100 --messages 3").expect("a report");
    assert_eq!(report["messages_taken"], 6);
    assert_eq!(report["still_open"], 2);
}

#[test]
fn slow_peers_that_are_cut_are_counted_and_it_ends_with_the_last() {
    let target = server(UPGRADED, cut_after_four);
    let report = run(target, "slow --connections 3 --rate 100").expect("a report");
    assert_eq!(report["closed_by_server"], 3, "{report}");
    assert_eq!(report["still_open"], 0);
    let last = report["last_closed_s"].as_f64().expect("seconds");
    assert!((0.04..0.35).contains(&last), "{report}");
}
