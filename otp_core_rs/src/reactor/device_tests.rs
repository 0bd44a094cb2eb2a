//! The reactor over real loopback sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Instant;

use super::super::driver::{EVENTS_MAX, LOOK_MAX};
use super::super::table::Mark;
use super::*;
use crate::session::SessionKind;

const HEAD: &[u8] = b"GET /ws/device HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Version: 13\r\n\r\n";
const OTP_REQUEST: &[u8] = &[0x82, 0x83, 0, 0, 0, 0, 19, 3, 0];
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A reactor and what its batches said.
struct Served {
    reactor: Reactor,
    now: u64,
    upgraded: Vec<Id>,
    frames: Vec<Id>,
    closed: Vec<(Id, String)>,
    dropped: usize,
    panics: usize,
}

impl Served {
    fn new(connections_max: usize, options: SessionOptions) -> Self {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener = Listener::bind(host, 0, 64, false, Some(16_384)).unwrap();
        let entrance = EntranceRules {
            max: 64,
            per_address: 64,
            trusted: Vec::new(),
        };
        Self {
            reactor: Reactor::new(listener, connections_max, entrance, options).unwrap(),
            now: 0,
            upgraded: Vec::new(),
            frames: Vec::new(),
            closed: Vec::new(),
            dropped: 0,
            panics: 0,
        }
    }

    fn poll(&mut self) {
        let batch = self.reactor.poll(self.now, Duration::MAX).unwrap();
        for upgrade in batch.upgrades {
            let refusal: Option<&[u8]> = upgrade.over_limit.then_some(b"HTTP/1.1 503 \r\n\r\n");
            self.reactor.decide_many([(upgrade.id, refusal)], self.now);
            self.upgraded.push(upgrade.id);
        }
        self.frames.extend(batch.frames.iter().map(|(id, _)| *id));
        self.closed.extend(batch.closed);
        self.dropped += batch.dropped;
        self.panics += batch.panics;
    }

    fn until(&mut self, mut reached: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while began.elapsed() < WAIT_MAX {
            self.poll();
            if reached(self) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("never reached");
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.reactor.address().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection that is let in.
    fn connect(&mut self) -> (TcpStream, Id) {
        let mut stream = self.dial();
        stream.write_all(HEAD).unwrap();
        let before = self.upgraded.len();
        self.until(|served| served.upgraded.len() > before);
        assert!(response(&mut stream).starts_with("HTTP/1.1 101 "));
        (stream, *self.upgraded.last().unwrap())
    }
}

fn response(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn device() -> Served {
    Served::new(100, SessionOptions::default())
}

#[test]
fn frames_come_in_and_answers_go_out() {
    let mut served = device();
    let (mut stream, id) = served.connect();
    stream.write_all(OTP_REQUEST).unwrap();
    served.until(|served| served.frames == [id]);
    served
        .reactor
        .send_many([(id, &b"ok"[..]), (Id(77), b"?")], 0);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\x82\x02ok");
}

#[test]
fn who_has_much_to_say_keeps_nobody_waiting() {
    let mut served = device();
    let mut devices: Vec<(TcpStream, Id)> = (0..3).map(|_| served.connect()).collect();
    for (stream, _) in &mut devices {
        stream.write_all(OTP_REQUEST).unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < devices.len() {
        // No time but for one event; and who was heard has more to say by the next poll.
        let batch = served.reactor.poll(0, Duration::ZERO).unwrap();
        assert_eq!(batch.frames.len(), 1);
        let (id, _) = batch.frames[0];
        assert!(!heard.contains(&id), "{id:?} again, after {heard:?}");
        heard.push(id);
        let spoke = devices.iter_mut().find(|(_, other)| *other == id);
        spoke.unwrap().0.write_all(OTP_REQUEST).unwrap();
    }
}

#[test]
fn what_came_at_once_is_heard_to_its_end_though_it_is_told_of_once() {
    let mut served = Served::new(
        100,
        SessionOptions {
            burst_bytes: 1 << 40,
            ..SessionOptions::default()
        },
    );
    let (mut stream, id) = served.connect();
    // More than one read takes, and the end of the stream behind it.
    let frames = 2 * Devices::RECEIVE_BYTES / OTP_REQUEST.len();
    stream.write_all(&OTP_REQUEST.repeat(frames)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!(served.frames, vec![id; frames]);
    assert_eq!(served.closed, [(id, "peer".to_owned())]);
}

#[test]
fn more_than_one_look_brings_are_heard_without_waiting() {
    let mut served = device();
    let mut devices: Vec<(TcpStream, Id)> = (0..70).map(|_| served.connect()).collect();
    served.until(|served| !served.reactor.has_more());
    for (stream, _) in &mut devices {
        stream.write_all(OTP_REQUEST).unwrap();
    }
    served.poll();
    assert_eq!(served.frames.len(), LOOK_MAX);
    assert!(served.reactor.has_more());
    served.poll();
    assert_eq!(served.frames.len(), devices.len());
    assert!(!served.reactor.has_more());
    for (stream, _) in &mut devices[..EVENTS_MAX] {
        stream.write_all(OTP_REQUEST).unwrap();
    }
    served.poll();
    assert_eq!(served.frames.len(), devices.len() + EVENTS_MAX);
    assert!(!served.reactor.has_more(), "that they are all is known");
}

#[test]
fn numbers_are_never_used_again() {
    let mut served = device();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let (stream, id) = served.connect();
        numbers.push(id);
        drop(stream);
        served.until(|served| served.reactor.connections() == 0);
        served.reactor.send_many([(id, &b"late"[..])], 0);
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
    assert_eq!(served.closed.len(), 20);
}

#[test]
fn a_panic_costs_its_own_connection() {
    let mut served = device();
    let (mut victim, lost) = served.connect();
    let (mut other, kept) = served.connect();
    served.reactor.driver.shared.context.options.kind = SessionKind::Panicking;
    victim.write_all(OTP_REQUEST).unwrap();
    served.until(|served| served.panics == 1);
    served.reactor.driver.shared.context.options.kind = SessionKind::Device;
    assert_eq!(served.closed, [(lost, "internal".to_owned())]);
    other.write_all(OTP_REQUEST).unwrap();
    served.until(|served| served.frames == [kept]);
    assert_eq!(victim.read(&mut [0; 9]).unwrap_or(0), 0);
}

#[test]
fn connections_above_the_limit_hear_so() {
    let mut served = Served::new(1, SessionOptions::default());
    let (_first, _) = served.connect();
    let mut second = served.dial();
    second.write_all(HEAD).unwrap();
    served.until(|served| served.upgraded.len() == 2);
    assert!(response(&mut second).starts_with("HTTP/1.1 503 "));
}

#[test]
fn the_oldest_silent_connection_makes_room() {
    let mut served = device();
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(served.dial());
        served.poll();
    }
    served.until(|served| served.dropped == 80 - 64);
    assert_eq!(served.reactor.connections(), 64);
    let (_device, _) = served.connect();
    assert_eq!(served.reactor.connections(), 64);
    served.now = 5_000;
    served.until(|served| served.reactor.connections() == 1);
    assert_eq!(served.reactor.driver.keeper.entrance.len(), 0);
    drop(silent);
}

#[test]
fn those_who_ask_are_heard_before_others_come() {
    let mut served = device();
    let mut streams: Vec<TcpStream> = (0..60).map(|_| served.dial()).collect();
    served.until(|served| served.reactor.connections() == 60);
    for stream in &mut streams {
        stream.write_all(HEAD).unwrap();
    }
    let _more: Vec<TcpStream> = (0..60).map(|_| served.dial()).collect();
    served.until(|served| served.upgraded.len() == 60);
    assert_eq!(served.dropped, 0);
}

#[test]
fn one_that_does_not_read_is_closed_in_time_and_reset() {
    let mut served = device();
    let (mut stream, id) = served.connect();
    let message = vec![7; 60_000];
    while served
        .reactor
        .driver
        .table
        .get_mut(id)
        .is_some_and(|entry| !entry.marks.has(Mark::WantsRoom))
    {
        served.reactor.send_many([(id, &message[..])], 0);
    }
    served
        .reactor
        .close_many([(id, 1008, "replaced", 2_000)], 0);
    served
        .reactor
        .close_many([(id, 4002, "unauthorized", 500)], 0);
    served.now = 499;
    served.poll();
    assert_eq!(served.closed, []);
    assert_eq!(served.reactor.next_deadline(), Some(500));
    served.now = 500;
    served.poll();
    assert_eq!(served.closed, [(id, "replaced".to_owned())]);
    assert_eq!(served.reactor.connections(), 0);
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn deadlines_fire_and_leave_nothing_behind() {
    let mut served = device();
    let silent: Vec<TcpStream> = (0..50).map(|_| served.dial()).collect();
    served.until(|served| served.reactor.connections() == 50);
    assert_eq!(served.reactor.next_deadline(), Some(5_000));
    served.now = 5_000;
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!(served.reactor.driver.timers.len(), 0);
    drop(silent);
}

#[test]
fn deadlines_of_many_are_bounded_in_time_too() {
    let mut served = device();
    let silent: Vec<TcpStream> = (0..10).map(|_| served.dial()).collect();
    served.until(|served| served.reactor.connections() == silent.len());
    for left in (0..silent.len()).rev() {
        served.reactor.poll(5_000, Duration::ZERO).unwrap();
        assert_eq!(served.reactor.connections(), left);
    }
}

#[test]
fn a_busy_connection_does_not_pile_up_timers() {
    let mut served = device();
    let (mut stream, id) = served.connect();
    for _ in 0..200 {
        served.now += 10;
        stream.write_all(&[0x82, 0x81, 0, 0, 0, 0, 19]).unwrap();
        served.until(|_| true);
        stream.write_all(&[0x82, 0x82, 0, 0, 0, 0, 3, 0]).unwrap();
        let before = served.frames.len();
        served.until(|served| served.frames.len() > before);
    }
    assert!(served.reactor.driver.timers.len() <= 3);
    assert_eq!(served.frames, vec![id; 200]);
}

#[test]
fn closing_all_comes_in_steps_and_reaches_everybody() {
    let mut served = device();
    let mut streams: Vec<TcpStream> = (0..90).map(|_| served.connect().0).collect();
    served.reactor.stop_accepting();
    served.reactor.close_all(1001, "draining");
    assert!(served.reactor.has_more());
    served.until(|served| !served.reactor.has_more());
    for stream in &mut streams {
        let mut close = [0; 12];
        stream.read_exact(&mut close).unwrap();
        assert_eq!(&close, b"\x88\x0a\x03\xe9draining");
        stream.shutdown(Shutdown::Both).unwrap();
    }
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!(served.closed.len(), 90);
    assert!(served.closed.iter().all(|(_, why)| why == "draining"));
}

#[test]
fn a_peer_that_does_not_read_holds_a_bounded_outbox() {
    let mut served = device();
    let (_stream, id) = served.connect();
    let message = vec![7; 60_000];
    for _ in 0..1_000 {
        served.reactor.send_many([(id, &message[..])], served.now);
        if served.reactor.has_more() {
            break;
        }
    }
    served.poll();
    assert_eq!(served.closed, [(id, "slow_reader".to_owned())]);
    served.now += 2_000;
    served.until(|served| served.reactor.connections() == 0);
}

#[test]
fn an_answer_that_waits_goes_out_when_there_is_room() {
    let mut served = device();
    let (mut stream, id) = served.connect();
    let message = vec![7; 60_000];
    let mut sent = 0;
    while served
        .reactor
        .driver
        .table
        .get_mut(id)
        .is_some_and(|entry| !entry.marks.has(Mark::WantsRoom))
    {
        served.reactor.send_many([(id, &message[..])], served.now);
        sent += 60_004;
    }
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; sent];
        stream.read_exact(&mut all).map(|()| stream)
    });
    served.until(|served| reader.is_finished() || served.reactor.connections() == 0);
    assert!(reader.join().unwrap().is_ok());
    assert!(
        !served
            .reactor
            .driver
            .table
            .get_mut(id)
            .unwrap()
            .marks
            .has(Mark::WantsRoom)
    );
}

#[test]
fn what_is_abandoned_is_told_once() {
    let mut served = device();
    let (_one, id) = served.connect();
    let _silent = served.dial();
    served.until(|served| served.reactor.connections() == 2);
    assert_eq!(served.reactor.abandon(), [id]);
    assert_eq!(served.reactor.connections(), 0);
}

#[test]
fn an_idle_connection_costs_no_more_than_its_entry() {
    assert!(
        size_of::<Option<Entry<Session, Note>>>() <= 96,
        "{}",
        size_of::<Option<Entry<Session, Note>>>()
    );
}
