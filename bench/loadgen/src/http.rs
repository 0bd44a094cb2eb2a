//! HTTP/1.1 load: keep-alive connections, one request at a time on each, every answer checked.
//!
//! | module         | what is there                                                   |
//! |----------------|-----------------------------------------------------------------|
//! | [`options`]    | the command line after `http`                                   |
//! | [`requests`]   | the file of requests, and their bytes                           |
//! | [`answer`]     | an answer's head and body, and what a right one is              |
//! | [`connection`] | one connection                                                  |
//! | [`phases`]     | answers by class of request, and the recovery after a load      |
//! | [`drive`]      | `closed` and `open` over all connections                        |

pub mod answer;
pub mod connection;
pub mod drive;
pub mod options;
pub mod phases;
pub mod requests;

use serde_json::Value;

/// Runs `loadgen http WORDS`; `None` when help was asked for.
///
/// # Errors
/// A sentence: why it could not be run or measured.
pub fn run(words: impl IntoIterator<Item = String>) -> Result<Option<Value>, String> {
    match options::parse(words)? {
        None => Ok(None),
        Some(options) => drive::run(&options).map(Some),
    }
}
