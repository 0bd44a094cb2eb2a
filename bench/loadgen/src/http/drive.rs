//! `closed` and `open` over all connections: one thread, one epoll set.
//!
//! Only answers that come within the measured window count. Afterwards the load may fall, to see how
//! the server recovers, and what is still owed is waited for, so that silence is seen.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::connection::Connection;
use super::options::{Mode, Options};
use super::phases::{Classes, Recovery};
use super::requests::{Heard, Requests};
use crate::modes::ask::{Meter, Tally, nanoseconds};
use crate::schedule::Schedule;

const SCRATCH_BYTES: usize = 65_536;
const EVENTS: usize = 1024;
/// How long owed answers are waited for: longer than the server's own promise of 10 s.
const OWED: Duration = Duration::from_secs(11);
/// Closer than this to the next request the thread spins: epoll sleeps in whole milliseconds.
const SPIN_NS: u64 = 1_500_000;

/// Runs what the options say.
///
/// # Errors
/// A sentence: why it could not be run or measured.
pub fn run(options: &Options) -> Result<Value, String> {
    let mut pool = Pool::connect(options)?;
    let mut tally = Tally::new(pool.now_ns(), options.warmup, options.duration)?;
    let mut meter = Meter::new();
    match options.mode {
        Mode::Closed => pool.due.extend(vec![pool.now_ns(); options.connections]),
        Mode::Open => {}
    }
    let mut schedule = match options.mode {
        Mode::Closed => None,
        Mode::Open => Some(Schedule::new(pool.now_ns(), options.rate, 1)?),
    };
    let end_ns = tally.window.1;
    let mut classes = Classes::new(tally.window);
    let mut recovery = options.fall.map(|_| Recovery::new(end_ns)).transpose()?;
    // After the window the load falls, where it is to, before it ends.
    let mut fall = options.fall;
    let mut asks_until_ns = end_ns;
    let mut unsent = 0;
    loop {
        let now_ns = pool.now_ns();
        if now_ns >= end_ns
            && let Some((rate, span)) = fall.take()
        {
            schedule = Some(Schedule::new(end_ns, rate, 1)?);
            asks_until_ns = end_ns + nanoseconds(span);
            // Who had no connection until now gives up: else the load would not have fallen.
            unsent = pool.due.len();
            pool.due.clear();
        }
        if let Some(schedule) = &mut schedule {
            while now_ns < asks_until_ns
                && let Some((intended_ns, _)) = schedule.due(now_ns)
            {
                pool.due.push_back(intended_ns);
                if (tally.window.0..end_ns).contains(&intended_ns) {
                    tally.late.record(now_ns - intended_ns);
                }
            }
        }
        pool.ask_due(&mut tally);
        meter.look(now_ns, tally.window, &options.watch)?;
        if now_ns >= asks_until_ns + nanoseconds(OWED)
            || (now_ns >= asks_until_ns && pool.owed() == 0)
            || pool.is_lost()
        {
            break;
        }
        let wait = schedule.as_ref().filter(|_| now_ns < asks_until_ns).map_or(
            Duration::from_millis(10),
            |schedule| match schedule.intended_ns().saturating_sub(now_ns) {
                0..=SPIN_NS => Duration::ZERO,
                _ => Duration::from_millis(1),
            },
        );
        for (heard, answered_ns) in pool.turn(wait)? {
            if !heard.shed {
                tally.answered(heard.at_ns, answered_ns);
            }
            classes.take(heard, answered_ns)?;
            if let Some(recovery) = &mut recovery {
                recovery.take(heard, answered_ns);
            }
            if schedule.is_none() && answered_ns < end_ns {
                pool.due.push_back(pool.now_ns());
            }
        }
    }
    let mut report = report(options, &pool, &tally, &meter)?;
    report["shed"] = json!(classes.shed());
    report["classes"] = classes.json();
    if let (Some(recovery), Some((rate, _))) = (recovery, options.fall) {
        report["after"] = recovery.json(rate);
        report["after"]["unsent"] = json!(unsent);
    }
    Ok(report)
}

/// All connections, and the requests that wait for one.
struct Pool {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    connections: Vec<Option<Connection>>,
    idle: Vec<usize>,
    due: VecDeque<u64>,
    requests: Requests,
    started: Instant,
    lost: u64,
    faults: BTreeMap<String, u64>,
}

impl Pool {
    fn connect(options: &Options) -> Result<Self, String> {
        let requests = Requests::read(options)?;
        let poll = Poll::new().map_err(|error| format!("no epoll set: {error}"))?;
        let mut connections = Vec::new();
        for index in 0..options.connections {
            let connected = connect(options, &poll, index);
            let stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
            connections.push(Some(Connection::new(stream)));
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES],
            idle: (0..connections.len()).rev().collect(),
            connections,
            due: VecDeque::new(),
            requests,
            started: Instant::now(),
            lost: 0,
            faults: BTreeMap::new(),
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Requests that were to be sent and have no answer.
    fn owed(&self) -> usize {
        let busy = self.connections.iter().flatten();
        self.due.len() + busy.filter(|connection| connection.is_busy()).count()
    }

    fn is_lost(&self) -> bool {
        self.connections.iter().all(Option::is_none)
    }

    /// Sends what is due on connections that are free.
    fn ask_due(&mut self, tally: &mut Tally) {
        while let (Some(&index), Some(&at_ns)) = (self.idle.last(), self.due.front()) {
            self.idle.pop();
            self.due.pop_front();
            tally.asked += 1;
            if let Some(connection) = self.connections[index].as_mut()
                && let Err(why) = connection.ask(&mut self.requests, at_ns)
            {
                self.lose(index, why);
            }
        }
    }

    /// Waits at most `wait`; the answers, and when each came.
    fn turn(&mut self, wait: Duration) -> Result<Vec<(Heard, u64)>, String> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(format!("epoll: {error}"));
            }
            _ => {}
        }
        let mut answers = Vec::new();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            let Some(connection) = self.connections[index].as_mut() else {
                continue;
            };
            let heard = connection
                .flush()
                .and_then(|()| connection.read(&mut self.scratch, &self.requests));
            match heard {
                Ok(None) => {}
                Ok(Some(heard)) => {
                    self.idle.push(index);
                    answers.push((heard, self.now_ns()));
                }
                Err(why) => self.lose(index, why),
            }
        }
        self.events = events;
        Ok(answers)
    }

    fn lose(&mut self, index: usize, why: String) {
        *self.faults.entry(why).or_default() += 1;
        self.lost += 1;
        self.idle.retain(|&idle| idle != index);
        if let Some(mut connection) = self.connections[index].take() {
            let _ = self.poll.registry().deregister(connection.stream());
        }
    }
}

fn connect(options: &Options, poll: &Poll, index: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if options.sources > 0 {
        let last = u8::try_from(index % usize::from(options.sources)).unwrap_or(0);
        let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 2, last), 0);
        socket.bind(&source.into())?;
    }
    socket.connect(&options.target.into())?;
    let stream = std::net::TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry()
        .register(&mut stream, Token(index), interest)?;
    Ok(stream)
}

fn report(options: &Options, pool: &Pool, tally: &Tally, meter: &Meter) -> Result<Value, String> {
    let faults = pool.faults.iter().max_by_key(|(_, count)| **count);
    let used = meter.used.ok_or_else(|| match faults {
        Some((why, count)) => format!("every connection was lost; {count} times: {why}"),
        None => "the window was never measured".to_owned(),
    })?;
    let answers = usize::try_from(tally.answers).unwrap_or(usize::MAX);
    let open = options.mode == Mode::Open;
    Ok(json!({
        "mode": if open { "http-open" } else { "http-closed" },
        "connections": options.connections,
        "window_s": options.duration.as_secs_f64(),
        "intended_per_s": if open { json!(options.rate) } else { Value::Null },
        "asked": tally.asked,
        "answers": tally.answers,
        "unanswered": pool.owed(),
        "connections_lost": pool.lost,
        "faults": pool.faults,
        "msg_per_s": crate::modes::rate(answers, options.duration.as_secs_f64()),
        "latency_us": tally.latencies.summary(),
        "histogram": tally.latencies.histogram(),
        "generator_late_us": tally.late.summary(),
        "cpu": used.json(),
    }))
}
