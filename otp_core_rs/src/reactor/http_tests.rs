//! The HTTP reactor over real loopback sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Instant;

use super::super::table::Unread;
use super::*;
use crate::http::Routes;

const GET: &[u8] = b"GET /hot HTTP/1.1\r\nHost: x\r\n\r\n";
const COLD: &[u8] = b"GET /cold HTTP/1.1\r\nHost: x\r\n\r\n";
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A reactor whose requests are answered with `body`, unless they are kept.
struct Served {
    reactor: HttpReactor,
    now: u64,
    body: Vec<u8>,
    keeps: bool,
    kept: Vec<(Id, u32)>,
    answered: usize,
    refused: usize,
    panics: usize,
    handovers: Vec<Handover>,
}

impl Served {
    fn new(connections_max: usize) -> Self {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener = Listener::bind(host, 0, 128, false, None).unwrap();
        let crowd = CrowdRules {
            connections_max,
            per_address_max: connections_max,
            trusted: Vec::new(),
        };
        let rules = [(Some("GET"), "/hot"), (Some("POST"), "/hot")];
        let options = Options::new(Routes::new(&rules).unwrap());
        Self {
            reactor: HttpReactor::new(listener, crowd, options).unwrap(),
            now: 0,
            body: b"ok".to_vec(),
            keeps: false,
            kept: Vec::new(),
            answered: 0,
            refused: 0,
            panics: 0,
            handovers: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let batch = self.reactor.poll(self.now, Duration::MAX).unwrap();
        self.refused += batch.refused;
        self.panics += batch.panics;
        let asked = batch.requests.iter();
        self.kept
            .extend(asked.map(|asked| (asked.id, asked.request.number)));
        if !self.keeps {
            self.answer_kept();
        }
        self.handovers.extend(self.reactor.take_handovers());
    }

    fn answer_kept(&mut self) {
        let answer = Answer {
            status: 200,
            content_type: "text/plain",
            headers: &[],
            body: &self.body,
        };
        self.answered += self.kept.len();
        let answers = self.kept.drain(..).map(|(id, number)| (id, number, answer));
        assert_eq!(self.reactor.send_many(answers, self.now), 0);
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

    fn dial(&mut self) -> TcpStream {
        let open = self.reactor.connections();
        let stream = TcpStream::connect(self.reactor.address().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        self.until(|served| served.reactor.connections() > open);
        stream
    }

    fn ask(&mut self, stream: &mut TcpStream, data: &[u8]) {
        let before = self.answered;
        stream.write_all(data).unwrap();
        self.until(|served| served.answered > before);
        assert!(response(stream, b"ok").starts_with("HTTP/1.1 200 "));
    }
}

/// One answer with this body.
fn response(stream: &mut TcpStream, body: &[u8]) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let mut found = vec![0; body.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(found, body);
    String::from_utf8(text).unwrap()
}

/// The only connection.
fn only(served: &mut Served) -> &mut EntryOf<Clients> {
    let table = &mut served.reactor.driver.table;
    let id = table.id_at(0).unwrap();
    table.get_mut(id).unwrap()
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn is_reset(stream: &mut TcpStream) -> bool {
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    error.kind() == ErrorKind::ConnectionReset
}

#[test]
fn requests_come_in_and_answers_go_out() {
    let mut served = Served::new(9);
    served.reactor.set_date(784_111_777);
    let mut stream = served.dial();
    for _ in 0..3 {
        served.ask(&mut stream, GET);
    }
    stream.write_all(GET).unwrap();
    served.until(|served| served.answered == 4);
    assert!(response(&mut stream, b"ok").contains("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
}

#[test]
fn the_same_connection_asks_one_at_a_time_and_in_order() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(&GET.repeat(50)).unwrap();
    for _ in 0..50 {
        served.until(|served| !served.kept.is_empty());
        served.poll();
        assert_eq!(served.kept.len(), 1);
        served.answer_kept();
        response(&mut stream, b"ok");
    }
    served.poll();
    assert!(served.kept.is_empty() && !served.reactor.has_more());
}

#[test]
fn a_cold_request_takes_its_connection_along() {
    for cuts in [1, 7, 1000] {
        let mut served = Served::new(9);
        let mut stream = served.dial();
        let rest = [COLD, GET].concat();
        for piece in [GET, GET, &rest].concat().chunks(cuts) {
            stream.write_all(piece).unwrap();
            served.poll();
        }
        served.until(|served| !served.handovers.is_empty());
        assert_eq!(served.reactor.connections(), 0);
        let Handover { socket, data, peer } = served.handovers.pop().unwrap();
        assert_eq!(peer, Some(Ipv4Addr::LOCALHOST.into()));
        response(&mut stream, b"ok");
        response(&mut stream, b"ok");
        // Whatever was not handed over as bytes is in the socket, and nothing else.
        let mut taken = TcpStream::from(socket);
        taken.set_nonblocking(false).unwrap();
        let mut left = vec![0; rest.len() - data.len()];
        taken.read_exact(&mut left).unwrap();
        assert_eq!([data, left].concat(), rest);
        taken.write_all(b"elsewhere").unwrap();
        let mut word = [0; 9];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"elsewhere");
        served.poll();
        assert!(
            !served.reactor.has_more() && served.reactor.next_deadline().is_none_or(|at| at > 0)
        );
    }
}

#[test]
fn who_sends_while_an_answer_is_owed_is_not_heard_and_costs_nothing() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    served.until(|served| served.kept.len() == 1);
    stream.write_all(GET).unwrap();
    served.until(|served| only(served).unread != Unread::Nothing);
    assert!(!served.reactor.has_more());
    served.poll();
    assert_eq!(served.kept.len(), 1);
    served.answer_kept();
    served.until(|served| served.kept.len() == 1);
    served.answer_kept();
    response(&mut stream, b"ok");
    response(&mut stream, b"ok");
}

#[test]
fn who_hangs_up_while_an_answer_is_owed_is_forgotten() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    served.until(|served| served.kept.len() == 1);
    reset(stream);
    served.until(|served| served.reactor.connections() == 0);
    served.answer_kept();
}

#[test]
fn who_shuts_the_sending_side_still_gets_the_answer() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    served.until(|served| served.kept.len() == 1);
    for _ in 0..9 {
        served.poll();
    }
    served.answer_kept();
    response(&mut stream, b"ok");
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn more_requests_than_one_read_takes_are_all_answered_and_the_end_is_seen() {
    let mut served = Served::new(9);
    let mut stream = served.dial();
    let requests = 2 * Clients::RECEIVE_BYTES / GET.len();
    stream.write_all(&GET.repeat(requests)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let reader = std::thread::spawn(move || {
        for _ in 0..requests {
            response(&mut stream, b"ok");
        }
        stream.read(&mut [0]).unwrap()
    });
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!((served.answered, reader.join().unwrap()), (requests, 0));
}

#[test]
fn what_came_while_a_large_answer_waited_for_room_is_read_after_it() {
    let mut served = Served::new(9);
    let mut stream = stuck(&mut served);
    stream.write_all(GET).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    served.until(|served| only(served).unread == Unread::End);
    assert!(!served.reactor.has_more());
    let reader = std::thread::spawn(move || {
        response(&mut stream, &vec![7; 30_000_000]);
        response(&mut stream, b"ok");
        response(&mut stream, b"ok");
        stream.read(&mut [0]).unwrap()
    });
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!((served.answered, reader.join().unwrap()), (3, 0));
}

#[test]
fn who_resets_after_the_end_of_its_stream_is_forgotten_too() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    served.until(|served| served.kept.len() == 1 && only(served).unread == Unread::End);
    reset(stream);
    served.until(|served| served.reactor.connections() == 0);
    assert!(!served.reactor.has_more());
}

#[test]
fn who_resets_at_once_is_answered_in_vain_and_forgotten() {
    let mut served = Served::new(9);
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    reset(stream); // told in one with the request
    served.until(|served| served.reactor.connections() == 0);
}

#[test]
fn who_resets_while_its_answer_waits_for_room_is_forgotten() {
    let mut served = Served::new(9);
    reset(stuck(&mut served));
    served.until(|served| served.reactor.connections() == 0);
}

#[test]
fn a_handover_leaves_in_the_kernel_what_was_not_read() {
    let mut cold = b"POST /cold HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".to_vec();
    cold.extend((0..100_000_u32).map(|n| n.to_le_bytes()[0]));
    for hot_before in [0, 1, 700] {
        let mut served = Served::new(9);
        served.keeps = true;
        let mut stream = served.dial();
        stream.write_all(&GET.repeat(hot_before)).unwrap();
        stream.write_all(&cold).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        served.until(|served| {
            served.answer_kept();
            !served.handovers.is_empty()
        });
        assert_eq!(
            (served.answered, served.reactor.connections()),
            (hot_before, 0)
        );
        let Handover {
            socket, mut data, ..
        } = served.handovers.pop().unwrap();
        let mut taken = TcpStream::from(socket);
        taken.set_nonblocking(false).unwrap();
        taken.read_to_end(&mut data).unwrap();
        assert!(data == cold, "{} bytes", data.len());
        served.poll();
        assert!(!served.reactor.has_more());
    }
}

#[test]
fn who_floods_keeps_nobody_waiting() {
    let mut served = Served::new(9);
    let mut good = served.dial();
    let polite = served.reactor.driver.table.id_at(0).unwrap();
    // Many requests, and what is refused and read on for as long as it takes.
    let floods = [GET, GET, b" ", b" "].map(|unit| {
        let mut stream = served.dial();
        stream.set_nonblocking(true).unwrap();
        let much = unit.repeat(100_000);
        while stream.write(&much).is_ok() {}
        stream
    });
    for _ in 0..9 {
        good.write_all(GET).unwrap();
        let mut polls = 0;
        while served.kept.iter().all(|(id, _)| *id != polite) {
            served.answer_kept();
            // No time but for one event.
            let batch = served.reactor.poll(0, Duration::ZERO).unwrap();
            let asked = batch.requests.iter();
            served
                .kept
                .extend(asked.map(|asked| (asked.id, asked.request.number)));
            polls += 1;
            assert!(polls <= 3 * floods.len(), "{polls}");
        }
        served.answer_kept();
        response(&mut good, b"ok");
    }
    assert!(served.reactor.has_more(), "the flood goes on");
}

#[test]
fn who_is_to_be_read_on_stands_in_line_once() {
    let mut served = Served::new(9);
    served.keeps = true;
    let mut stream = served.dial();
    stream.write_all(GET).unwrap();
    served.until(|served| served.kept.len() == 1);
    stream.write_all(&[GET, b"GET /hot HT"].concat()).unwrap();
    served.until(|served| only(served).unread == Unread::Bytes);
    served.answer_kept();
    for _ in 0..3 {
        // Seen to once more, whatever for.
        let id = served.reactor.driver.table.id_at(0).unwrap();
        served.reactor.driver.with(id, 0, |_, _| ());
    }
    assert_eq!(served.reactor.driver.waiting_turns(), 1);
    served.until(|served| served.kept.len() == 1);
    assert!(!served.reactor.has_more());
}

#[test]
fn a_refusal_is_read_whole_though_the_peer_goes_on_sending() {
    let mut served = Served::new(9);
    let mut stream = served.dial();
    stream.write_all(b"GET /hot HTTP/1.1\nHost: x\n\n").unwrap();
    stream.write_all(&vec![b'x'; 100_000]).unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    served.until(|served| served.reactor.connections() == 0);
    let text = reader.join().unwrap().unwrap();
    assert!(
        text.starts_with("HTTP/1.1 400 ") && text.contains("bare LF"),
        "{text}"
    );
}

#[test]
fn the_slow_are_cut_while_others_are_served() {
    let mut served = Served::new(99);
    let mut slow: Vec<TcpStream> = (0..50).map(|_| served.dial()).collect();
    let mut good = served.dial();
    for second in 1..8 {
        served.now = second * 1_000;
        for stream in &mut slow {
            stream.write_all(b"G").unwrap();
        }
        served.ask(&mut good, GET);
        assert_eq!(served.reactor.connections(), 51);
    }
    assert_eq!(served.reactor.next_deadline(), Some(8_000));
    served.now = 8_000;
    served.until(|served| served.reactor.connections() == 1);
    served.ask(&mut good, GET);
    for stream in &mut slow {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

/// A connection whose answer does not fit the sockets.
fn stuck(served: &mut Served) -> TcpStream {
    served.body = vec![7; 30_000_000];
    let mut stream = served.dial();
    stream.write_all(&GET.repeat(2)).unwrap();
    let before = served.answered;
    served.until(|served| served.answered > before);
    served.body = b"ok".to_vec();
    stream
}

#[test]
fn slow_readers_are_cut_and_reset_while_others_are_served() {
    let mut served = Served::new(9);
    let mut stream = stuck(&mut served);
    let mut good = served.dial();
    served.now = 9_999;
    served.ask(&mut good, GET);
    assert_eq!(
        served.reactor.next_deadline().map(|at| at.min(10_000)),
        Some(10_000)
    );
    assert_eq!((served.reactor.connections(), served.answered), (2, 2));
    served.now = 10_000;
    served.until(|served| served.reactor.connections() == 1);
    served.ask(&mut good, GET);
    assert!(is_reset(&mut stream));
}

#[test]
fn a_large_answer_goes_out_as_there_is_room_and_then_the_next_is_read() {
    let mut served = Served::new(9);
    let mut stream = stuck(&mut served);
    assert_eq!(served.answered, 1);
    let reader = std::thread::spawn(move || {
        response(&mut stream, &vec![7; 30_000_000]);
        response(&mut stream, b"ok");
    });
    served.until(|_| reader.is_finished());
    assert!(reader.join().is_ok());
    assert_eq!(served.answered, 2);
}

#[test]
fn so_many_may_come_and_no_more() {
    let mut served = Served::new(3);
    let silent: Vec<TcpStream> = (0..3).map(|_| served.dial()).collect();
    let mut more = TcpStream::connect(served.reactor.address().unwrap()).unwrap();
    served.until(|served| served.refused == 1);
    assert_eq!(more.read(&mut [0]).unwrap(), 0);
    drop(silent);
    served.until(|served| served.reactor.connections() == 0);
    let mut other = served.dial();
    served.ask(&mut other, GET);
    // A connection that was handed over has left.
    other.write_all(COLD).unwrap();
    served.until(|served| !served.handovers.is_empty());
    let _others: Vec<TcpStream> = (0..3).map(|_| served.dial()).collect();
}

#[test]
fn a_panic_costs_its_own_connection() {
    let mut served = Served::new(9);
    let (mut victim, mut other) = (served.dial(), served.dial());
    served.reactor.driver.shared.context.panics = true;
    victim.write_all(GET).unwrap();
    served.until(|served| served.panics == 1);
    served.reactor.driver.shared.context.panics = false;
    served.ask(&mut other, GET);
    assert_eq!(served.reactor.connections(), 1);
    assert_eq!(victim.read(&mut [0; 9]).unwrap_or(0), 0);
}

#[test]
fn draining_answers_what_was_asked_and_ends() {
    let mut served = Served::new(200);
    served.keeps = true;
    let mut idle: Vec<TcpStream> = (0..90).map(|_| served.dial()).collect();
    let mut asking = served.dial();
    asking.write_all(GET).unwrap();
    served.until(|served| served.kept.len() == 1);
    served.reactor.stop_accepting();
    served.reactor.drain();
    served.until(|served| !served.reactor.has_more());
    for stream in &mut idle {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    drop(idle);
    served.until(|served| served.reactor.connections() == 1);
    served.answer_kept();
    assert!(response(&mut asking, b"ok").contains("connection: close\r\n"));
    drop(asking);
    served.until(|served| served.reactor.connections() == 0);
}

#[test]
fn draining_answers_what_has_come_and_was_not_heard_yet() {
    let mut served = Served::new(200);
    let mut streams: Vec<TcpStream> = (0..90).map(|_| served.dial()).collect();
    // The last asks first, and there is no time but for one of them.
    for stream in streams.iter_mut().rev() {
        stream.write_all(GET).unwrap();
    }
    served.reactor.stop_accepting();
    served.reactor.drain();
    while served.reactor.has_more() {
        let batch = served.reactor.poll(0, Duration::ZERO).unwrap();
        let asked = batch.requests.iter();
        served
            .kept
            .extend(asked.map(|asked| (asked.id, asked.request.number)));
        served.answer_kept();
    }
    assert_eq!(served.answered, streams.len());
    for stream in &mut streams {
        response(stream, b"ok");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    drop(streams);
    served.until(|served| served.reactor.connections() == 0);
}

#[test]
fn deadlines_leave_nothing_behind() {
    let mut served = Served::new(99);
    let mut streams: Vec<TcpStream> = (0..50).map(|_| served.dial()).collect();
    for stream in &mut streams {
        served.ask(stream, GET);
    }
    served.now = 75_000;
    served.until(|served| served.reactor.connections() == 0);
    assert_eq!(served.reactor.driver.timers.len(), 0);
}

#[test]
fn an_idle_connection_costs_no_more_than_its_entry() {
    let size = size_of::<Option<EntryOf<Clients>>>();
    assert!(size <= 208, "{size}");
}
