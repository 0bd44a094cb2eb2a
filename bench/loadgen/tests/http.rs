//! The HTTP load against a small server of threads: what is right is counted, what is wrong is not.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bench_loadgen::http;
use serde_json::Value;

const RIGHT: &str = r#"{"status":"ok","timestamp":1,"data":{"accepted":true}}"#;
const WRONG: &str = r#"{"status":"ok","timestamp":1,"data":{"accepted":false}}"#;

/// What the n-th request of a connection, given whole, is answered; an empty answer is silence.
type Answer = fn(usize, &str) -> String;

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn right(_: usize, request: &str) -> String {
    assert!(request.starts_with("PUT /otp/x/attempt HTTP/1.1\r\n"));
    assert!(request.contains("\r\nAuthorization: Bearer tok\r\n"));
    assert!(request.ends_with("\r\nContent-Length: 12\r\n\r\n{\"code\":\"1\"}"));
    answer(RIGHT)
}

fn wrong_third(number: usize, request: &str) -> String {
    if number == 2 {
        return answer(WRONG);
    }
    right(number, request)
}

fn silent_after_three(number: usize, request: &str) -> String {
    if number < 3 {
        return right(number, request);
    }
    String::new()
}

fn slow(number: usize, request: &str) -> String {
    thread::sleep(Duration::from_millis(20));
    right(number, request)
}

fn server(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || converse(stream, answer));
        }
    });
    address
}

fn converse(mut stream: TcpStream, answer: Answer) {
    stream.set_nodelay(true).expect("a socket");
    let mut buffer = [0; 4096];
    let (mut seen, mut number) = (String::new(), 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        seen.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        if !seen.ends_with('}') {
            continue;
        }
        // In two pieces: an answer may come in any.
        let text = answer(number, &seen);
        let (first, second) = text.split_at(text.len() / 2);
        if stream.write_all(first.as_bytes()).is_err()
            || stream.write_all(second.as_bytes()).is_err()
        {
            return;
        }
        seen.clear();
        number += 1;
    }
}

/// A file of its own for each test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("written");
    path
}

fn run(target: SocketAddr, name: &str, words: &str) -> Result<Value, String> {
    let requests = file(
        &format!("{name}.requests"),
        "PUT\t/otp/x/attempt\taccepted\t{\"code\":\"1\"}\n",
    );
    let token = file(&format!("{name}.token"), "tok\n");
    let line = format!(
        "{words} --target {target} --requests {} --token {} --warmup 0.05 --duration 0.3",
        requests.display(),
        token.display()
    );
    let ran = http::run(line.split_ascii_whitespace().map(String::from));
    ran.map(|report| report.expect("no help"))
}

#[test]
fn right_answers_are_counted() {
    let report = run(server(right), "right", "closed --connections 3 --wrap").expect("ran");
    assert!(report["answers"].as_u64() > Some(100), "{report}");
    assert!(report["asked"].as_u64() > report["answers"].as_u64());
    assert_eq!(report["faults"], serde_json::json!({}));
    assert_eq!(report["unanswered"], 0);
    assert!(report["latency_us"]["p50"].as_f64() > Some(0.0));
}

#[test]
fn a_wrong_answer_is_a_fault_and_not_counted() {
    let report = run(
        server(wrong_third),
        "wrong",
        "closed --connections 2 --wrap",
    );
    let error = report.expect_err("no connection is left for the window");
    assert!(
        error.contains("2 times: an answer is not what was wanted"),
        "{error}"
    );
}

#[test]
fn silence_is_owed() {
    let report = run(
        server(silent_after_three),
        "silent",
        "open --rate 100 --connections 1 --wrap",
    )
    .expect("ran");
    assert!(report["answers"].as_u64() <= Some(3), "{report}");
    assert!(report["unanswered"].as_u64() > Some(25), "{report}");
}

#[test]
fn requests_that_are_used_up_are_a_fault() {
    let report = run(server(right), "used", "open --rate 100 --connections 1");
    let error = report.expect_err("one request only");
    assert!(error.contains("used up"), "{error}");
}

#[test]
fn an_open_loop_counts_from_the_intended_time() {
    let words = "open --rate 100 --connections 1 --wrap";
    let report = run(server(slow), "slow", words).expect("ran");
    // 50 a second are answered: the last of 30 waited for half of the window and more.
    assert!(
        report["latency_us"]["max"].as_f64() > Some(100_000.0),
        "{report}"
    );
    assert_eq!(report["unanswered"], 0);
    let late = report["generator_late_us"]["p50"]
        .as_f64()
        .expect("a figure");
    assert!(late < 10_000.0, "{report}");
}

#[test]
fn the_one_right_body_is_compared() {
    let words = format!(
        "closed --connections 1 --wrap --answer {}",
        file("body.answer", RIGHT).display()
    );
    let report = run(server(right), "body", &words).expect("ran");
    assert!(report["answers"].as_u64() > Some(10));
    let words = words.replace("body.answer", "body2.answer");
    file("body2.answer", WRONG);
    let error = run(server(right), "body2", &words).expect_err("another body");
    assert!(error.contains("not the one of the file"), "{error}");
}

/// Every second call is shed.
fn sheds_some(number: usize, request: &str) -> String {
    let good = right(number, request);
    if number.is_multiple_of(2) {
        return good;
    }
    let body = r#"{"status":"error","error":{"code":"OVERLOADED"}}"#;
    format!(
        "HTTP/1.1 503 x\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn shed_calls_are_counted_apart() {
    let words = "closed --connections 2 --wrap --shed --sources 2";
    let report = run(server(sheds_some), "shed", words).expect("ran");
    let class = &report["classes"]["attempt"];
    let (good, shed) = (class["answers"].as_u64(), class["shed"].as_u64());
    assert_eq!(good, report["answers"].as_u64());
    assert_eq!(shed, report["shed"].as_u64());
    assert!(good > Some(50) && shed > Some(50), "{report}");
    assert!(class["shed_latency_us"]["p99"].as_f64() > Some(0.0));
    assert_eq!(report["after"], Value::Null);
}

#[test]
fn a_shed_call_is_a_fault_where_none_may_be() {
    let words = "closed --connections 2 --wrap";
    let error = run(server(sheds_some), "unshed", words).expect_err("no connection is left");
    assert!(error.contains("answered 503: OVERLOADED"), "{error}");
}

#[test]
fn the_load_falls_and_the_server_recovers() {
    let words = "open --rate 200 --connections 1 --wrap --fall-to 20 --fall-for 3";
    let report = run(server(slow), "fall", words).expect("ran");
    let after = &report["after"];
    // 50 a second of 200 are answered: 0.35 s leave 50 that were not sent.
    let recovered_s = after["recovered_s"].as_f64().expect("recovered");
    assert!(recovered_s < 1.0, "{report}");
    assert!(after["unsent"].as_u64() > Some(25), "{report}");
    assert_eq!(after["answers"], 60);
    assert_eq!(
        (after["rate"].as_f64(), report["unanswered"].as_u64()),
        (Some(20.0), Some(0))
    );
}
