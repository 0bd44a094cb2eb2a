//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

/// What `--help` prints.
pub const USAGE: &str = "\
loadgen MODE --target IP:PORT [options]

MODE
  closed   one request outstanding on every connection
  open     a constant rate over all connections; latency counts from the intended send time
  storm    connect all, drop all, connect all again: handshakes per second
  idle     connect all and hold them until a line (or the end) of standard input
  slow     send at a rate and never read an answer

OPTIONS
  --path PATH            the WebSocket's path                              [/ws/device]
  --connections N        how many                                          [64]
  --connecting N         how many upgrades may be under way at once        [512; storm: 1024]
  --connect-timeout S    all must be up within                             [60]
  --tokens FILE          one bearer token a line, one for each connection
  --skip-tokens N        leave out the file's first N                      [0]
  --source-base N        first source address: 127.1.0.1 + N               [0]
  --per-source N         connections of one source address                 [2000]
  --warmup S             not measured                                      [0.5]
  --duration S           measured                                          [2]
  --rate R               open: messages a second in all; slow: of each connection
  --batch N              slow: the longest pings, written at once          [1]
  --messages N           slow: so many of each connection, and silence     [no end]
  --cycles N             storm: how often all are dropped and come back, at the least;
                         it goes on for the whole duration                 [3]
  --request-bytes N      a request's payload                               [8]
  --answer-bytes N       the fixed answer's payload                        [40]
  --otp                  ask for codes (13 03 00) and check that one comes
  --watch PID            measure this process's CPU time too; repeatable
  --hold-max S           idle: let go after this long at the latest        [900]

One JSON object on standard output; progress, one JSON object a line, on standard error.
Every answer is checked before it is counted. Exit status 1, with a sentence, when it cannot run.
";

/// Below the kernel's usual accept queue (`somaxconn`, 4096): beyond it connections are dropped and
/// tried again after a second, and that second would be all one measures.
const STORM_AT_ONCE: usize = 1024;

/// What is done with the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One request outstanding on every connection.
    Closed,
    /// A constant rate, whatever the server does.
    Open,
    /// Drop all, connect all.
    Storm,
    /// Hold them.
    Idle,
    /// Send and never read.
    Slow,
}

/// The whole command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// The server.
    pub target: SocketAddr,
    /// The WebSocket's path.
    pub path: String,
    /// How many connections.
    pub connections: usize,
    /// How many upgrades may be under way at once.
    pub connecting: usize,
    /// All must be up within.
    pub connect_timeout: Duration,
    /// A file of bearer tokens.
    pub tokens: Option<PathBuf>,
    /// Tokens of the file that are left out.
    pub skip_tokens: usize,
    /// Number of the first source address.
    pub source_base: u32,
    /// Connections of one source address.
    pub per_source: usize,
    /// Not measured.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// Messages a second.
    pub rate: f64,
    /// Requests in one message of a slow peer.
    pub batch: usize,
    /// Messages of a slow peer; no end without it.
    pub messages: Option<u64>,
    /// Storm cycles.
    pub cycles: usize,
    /// A request's payload.
    pub request_bytes: usize,
    /// The fixed answer's payload.
    pub answer_bytes: usize,
    /// Ask for codes.
    pub otp: bool,
    /// Processes whose CPU time is measured.
    pub watch: Vec<u32>,
    /// The longest hold.
    pub hold_max: Duration,
}

/// Reads the command line without the program's name; `None` when help was asked for.
///
/// # Errors
/// A sentence that names the argument.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Options>, String> {
    parse_inner(lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
}

fn parse_inner(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let (mut mode, mut target, mut connecting) = (None, None, None);
    let mut options = Options {
        mode: Mode::Closed,
        target: SocketAddr::from(([127, 0, 0, 1], 0)),
        path: "/ws/device".to_owned(),
        connections: 64,
        connecting: 512,
        connect_timeout: Duration::from_mins(1),
        tokens: None,
        skip_tokens: 0,
        source_base: 0,
        per_source: 2_000,
        warmup: Duration::from_millis(500),
        duration: Duration::from_secs(2),
        rate: 0.0,
        batch: 1,
        messages: None,
        cycles: 3,
        request_bytes: 8,
        answer_bytes: 40,
        otp: false,
        watch: Vec::new(),
        hold_max: Duration::from_mins(15),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("target") => target = Some(parser.value()?.parse()?),
            Long("path") => options.path = parser.value()?.string()?,
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("connecting") => connecting = Some(parser.value()?.parse()?),
            Long("connect-timeout") => options.connect_timeout = seconds(&mut parser)?,
            Long("tokens") => options.tokens = Some(parser.value()?.into()),
            Long("skip-tokens") => options.skip_tokens = parser.value()?.parse()?,
            Long("source-base") => options.source_base = parser.value()?.parse()?,
            Long("per-source") => options.per_source = parser.value()?.parse()?,
            Long("warmup") => options.warmup = seconds(&mut parser)?,
            Long("duration") => options.duration = seconds(&mut parser)?,
            Long("rate") => options.rate = parser.value()?.parse()?,
            Long("batch") => options.batch = parser.value()?.parse()?,
            Long("messages") => options.messages = Some(parser.value()?.parse()?),
            Long("cycles") => options.cycles = parser.value()?.parse()?,
            Long("request-bytes") => options.request_bytes = parser.value()?.parse()?,
            Long("answer-bytes") => options.answer_bytes = parser.value()?.parse()?,
            Long("otp") => options.otp = true,
            Long("watch") => options.watch.push(parser.value()?.parse()?),
            Long("hold-max") => options.hold_max = seconds(&mut parser)?,
            Value(word) if mode.is_none() => {
                mode = Some(match word.string()?.as_str() {
                    "closed" => Mode::Closed,
                    "open" => Mode::Open,
                    "storm" => Mode::Storm,
                    "idle" => Mode::Idle,
                    "slow" => Mode::Slow,
                    other => return Err(format!("there is no mode {other:?}; see --help").into()),
                });
            }
            other => return Err(other.unexpected()),
        }
    }
    options.mode = mode.ok_or("a mode is needed; see --help")?;
    options.target = target.ok_or("--target IP:PORT is needed")?;
    if !options.target.is_ipv4() || !options.target.ip().is_loopback() {
        return Err("--target must be on 127.0.0.0/8: this tool loads its own machine only".into());
    }
    if options.connections == 0
        || options.per_source == 0
        || options.batch == 0
        || connecting == Some(0)
    {
        let counts = "--connections, --connecting, --per-source and --batch";
        return Err(format!("{counts} must be above 0").into());
    }
    if matches!(options.mode, Mode::Open | Mode::Slow) && options.rate <= 0.0 {
        return Err("this mode needs --rate above 0".into());
    }
    if options.mode != Mode::Slow && (options.batch != 1 || options.messages.is_some()) {
        return Err("--batch and --messages are of the mode slow".into());
    }
    options.connecting = connecting.unwrap_or(match options.mode {
        Mode::Storm => STORM_AT_ONCE.min(options.connections),
        _ => 512,
    });
    Ok(Some(options))
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_ascii_whitespace().map(String::from))
    }

    #[test]
    fn a_line_is_read() {
        let options = parsed("open --target 127.0.0.1:9 --rate 1e4 --watch 3 --watch 4")
            .expect("fine")
            .expect("options");
        assert_eq!(options.mode, Mode::Open);
        assert_eq!(options.watch, [3, 4]);
        assert!((options.rate - 1e4).abs() < f64::EPSILON);
        let storm = parsed("storm --target 127.0.0.1:9 --connections 7").expect("fine");
        assert_eq!(storm.expect("options").connecting, 7);
        assert!(parsed("--help").expect("fine").is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("", "mode"),
            ("closed", "--target"),
            ("dance --target 127.0.0.1:9", "dance"),
            ("closed --target 10.0.0.1:9", "own machine"),
            ("open --target 127.0.0.1:9", "--rate"),
            (
                "closed --target 127.0.0.1:9 --connections 0",
                "--connections",
            ),
            ("closed --target 127.0.0.1:9 --frobnicate", "frobnicate"),
            ("closed --target 127.0.0.1:9 --batch 2", "--batch"),
            ("slow --target 127.0.0.1:9 --rate 1 --batch 0", "--batch"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
