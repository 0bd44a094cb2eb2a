//! The command line of `loadgen http`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

/// What `loadgen http --help` prints.
pub const USAGE: &str = "\
loadgen http MODE --target IP:PORT --requests FILE [options]

MODE
  closed   one request outstanding on every connection
  open     a constant rate; a request waits for a free connection, and latency counts from the
           time it was intended

OPTIONS
  --requests FILE        a request a line: METHOD TAB TARGET TAB WANT TAB BODY
  --wrap                 begin again after the last one; without it that is a fault
  --token FILE           its first word is sent as a bearer token
  --answer FILE          every answer has this very body, whatever a line wants
  --headers FILE         lines that are sent with each request
  --shed                 503 that says OVERLOADED and when to ask again is counted apart; without
                         this it is a fault
  --connections N        how many                                          [64]
  --sources N            so many addresses of 127.0.2.0/24 they come from in turn; 0: the kernel's [0]
  --warmup S             not measured                                      [0.5]
  --duration S           measured                                          [2]
  --rate R               open: requests a second in all
  --fall-to R            open: at the end the rate falls to this; what is not sent yet is given up
  --fall-for S           for so long, in which the time to recovery is measured
  --watch PID            measure this process's CPU time too; repeatable

WANT
  handshake | init | accepted | wrong | found N | confirmed | verified

One JSON object on standard output, as of the other modes. Every answer is checked before it is
counted: 200, JSON, and what was wanted. Exit status 1, with a sentence, when it cannot run.
";

/// What is done with the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One request outstanding on every connection.
    Closed,
    /// A constant rate, whatever the server does.
    Open,
}

/// The whole command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// The server.
    pub target: SocketAddr,
    /// The file of requests.
    pub requests: PathBuf,
    /// Whether the file is read again when it ends.
    pub wrap: bool,
    /// The file of a bearer token.
    pub token: Option<PathBuf>,
    /// The file of the one right body.
    pub answer: Option<PathBuf>,
    /// The file of more headers.
    pub headers: Option<PathBuf>,
    /// Whether a call that is shed is an answer.
    pub may_shed: bool,
    /// How many connections.
    pub connections: usize,
    /// How many addresses they come from; 0 leaves it to the kernel.
    pub sources: u8,
    /// Not measured.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// Requests a second.
    pub rate: f64,
    /// Requests a second after the window, and for how long.
    pub fall: Option<(f64, Duration)>,
    /// Processes whose CPU time is measured.
    pub watch: Vec<u32>,
}

/// Reads the command line without `loadgen http`; `None` when help was asked for.
///
/// # Errors
/// A sentence that names the argument.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Option<Options>, String> {
    parse_inner(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
}

fn parse_inner(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let (mut mode, mut target, mut requests) = (None, None, None);
    let mut options = Options {
        mode: Mode::Closed,
        target: SocketAddr::from(([127, 0, 0, 1], 0)),
        requests: PathBuf::new(),
        wrap: false,
        token: None,
        answer: None,
        headers: None,
        may_shed: false,
        connections: 64,
        sources: 0,
        warmup: Duration::from_millis(500),
        duration: Duration::from_secs(2),
        rate: 0.0,
        fall: None,
        watch: Vec::new(),
    };
    let (mut fall_to, mut fall_for) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("target") => target = Some(parser.value()?.parse()?),
            Long("requests") => requests = Some(parser.value()?.into()),
            Long("wrap") => options.wrap = true,
            Long("token") => options.token = Some(parser.value()?.into()),
            Long("answer") => options.answer = Some(parser.value()?.into()),
            Long("headers") => options.headers = Some(parser.value()?.into()),
            Long("shed") => options.may_shed = true,
            Long("sources") => options.sources = parser.value()?.parse()?,
            Long("fall-to") => fall_to = Some(parser.value()?.parse()?),
            Long("fall-for") => fall_for = Some(seconds(&mut parser)?),
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("warmup") => options.warmup = seconds(&mut parser)?,
            Long("duration") => options.duration = seconds(&mut parser)?,
            Long("rate") => options.rate = parser.value()?.parse()?,
            Long("watch") => options.watch.push(parser.value()?.parse()?),
            Value(word) if mode.is_none() => {
                mode = Some(match word.string()?.as_str() {
                    "closed" => Mode::Closed,
                    "open" => Mode::Open,
                    other => return Err(format!("there is no mode {other:?}; see --help").into()),
                });
            }
            other => return Err(other.unexpected()),
        }
    }
    options.mode = mode.ok_or("a mode is needed; see --help")?;
    options.target = target.ok_or("--target IP:PORT is needed")?;
    options.requests = requests.ok_or("--requests FILE is needed")?;
    if !options.target.is_ipv4() || !options.target.ip().is_loopback() {
        return Err("--target must be on 127.0.0.0/8: this tool loads its own machine only".into());
    }
    if options.connections == 0 {
        return Err("--connections must be above 0".into());
    }
    if options.mode == Mode::Open && options.rate <= 0.0 {
        return Err("this mode needs --rate above 0".into());
    }
    options.fall = match (fall_to, fall_for) {
        (None, None) => None,
        (Some(rate), Some(span)) if options.mode == Mode::Open && rate > 0.0 => Some((rate, span)),
        _ => return Err("open takes --fall-to above 0 and --fall-for together".into()),
    };
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
        let line = "open --target 127.0.0.1:9 --requests r --rate 10 --wrap --watch 3";
        let options = parsed(line).expect("fine").expect("options");
        assert_eq!(options.mode, Mode::Open);
        assert!(options.wrap && options.watch == [3]);
        assert!(parsed("--help").expect("fine").is_none());
        let more = "--shed --sources 8 --fall-to 2.5 --fall-for 3 --headers h";
        let options = parsed(&format!("{line} {more}"))
            .expect("fine")
            .expect("options");
        assert!(options.may_shed && options.sources == 8);
        assert_eq!(options.fall, Some((2.5, Duration::from_secs(3))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("--target 127.0.0.1:9 --requests r", "mode"),
            ("storm --target 127.0.0.1:9 --requests r", "storm"),
            ("closed --requests r", "--target"),
            ("closed --target 127.0.0.1:9", "--requests"),
            ("closed --target 10.0.0.1:9 --requests r", "own machine"),
            ("open --target 127.0.0.1:9 --requests r", "--rate"),
            (
                "open --target 127.0.0.1:9 --requests r --rate 1 --fall-to 1",
                "--fall-for",
            ),
            (
                "closed --target 127.0.0.1:9 --requests r --fall-to 1 --fall-for 1",
                "--fall-to",
            ),
            (
                "closed --target 127.0.0.1:9 --requests r --connections 0",
                "--connections",
            ),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
