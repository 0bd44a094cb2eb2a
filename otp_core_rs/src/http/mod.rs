//! HTTP/1.1, server side, sans-I/O: the hot operations of a connection that may ask for more.
//!
//! | module      | what is there                                                        |
//! |-------------|----------------------------------------------------------------------|
//! | [`session`] | one connection: phases, deadlines, what goes in and out              |
//! | [`routes`]  | which requests are answered here                                     |
//! | [`request`] | a whole request                                                      |
//! | [`answer`]  | an answer                                                            |
//! | [`offence`] | what is refused, and how that is answered                            |
//! | [`options`] | bounds and deadlines                                                 |
//! | [`date`]    | the Date field                                                       |
//! | `section`   | where a head or a trailer ends                                       |
//! | `head`      | a head, read strictly, on httparse                                   |
//! | `chunks`    | chunked bodies                                                       |
//!
//! Strict: where two programs could disagree about where a request ends, it is refused. One
//! request of a connection is with the caller at a time, and nothing is read meanwhile: so answers
//! are in order, what a peer can have waiting here is bounded, and two operations of one client
//! never overtake each other. A request for anything else is handed over with all that follows it.

pub mod answer;
mod chunks;
pub mod date;
pub(crate) mod head;
pub mod offence;
pub mod options;
pub mod request;
pub mod routes;
mod section;
pub mod session;

pub use answer::Answer;
pub use head::FIELDS_MAX;
pub use offence::Offence;
pub use options::Options;
pub use request::Request;
pub use routes::Routes;
pub use session::{Context, Event, Session};
