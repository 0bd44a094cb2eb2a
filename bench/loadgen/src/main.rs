//! `loadgen`: see `--help`; `loadgen http --help` for HTTP.

use std::process::ExitCode;

use bench_loadgen::{http, modes, options};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let (outcome, usage) = if words.first().is_some_and(|word| word == "http") {
        (http::run(words.drain(1..)), http::options::USAGE)
    } else {
        let ran = options::parse(words)
            .and_then(|options| options.map(|options| modes::run(&options)).transpose());
        (ran, options::USAGE)
    };
    match outcome {
        Ok(None) => print!("{usage}"),
        Ok(Some(report)) => println!("{report}"),
        Err(error) => {
            eprintln!("loadgen: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
