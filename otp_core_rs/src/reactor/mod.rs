//! All connections of a listener in one epoll set (Linux). The only place with sockets.
//!
//! | module       | what is there                                                |
//! |--------------|--------------------------------------------------------------|
//! | [`device`]   | devices: frames in, messages out                             |
//! | [`batch`]    | what one poll of it hands over                               |
//! | [`entrance`] | bounds on device connections that are not let in yet         |
//! | [`http`]     | HTTP: requests in, answers out, connections handed over      |
//! | [`crowd`]    | bounds on HTTP connections, in all and by address            |
//! | [`network`]  | what counts as one address                                   |
//! | [`listener`] | the listening socket                                         |
//! | `driver`     | the loop of both: events, accepting, deadlines               |
//! | `table`      | connections by numbers that are never used again             |
//! | `timers`     | deadlines without scanning                                   |
//! | `wire`       | between a socket and its session                             |
//!
//! Somebody else waits: whoever drives a reactor waits until its `fileno` is readable or its
//! `next_deadline` has come, and polls. A poll never blocks and is bounded in events, accepts,
//! timers and time; what was left is done by the next, and makes the descriptor readable or
//! `has_more` true. Connections are independent: what goes wrong in one, a panic too, ends that one.
//!
//! Connections are watched edge-triggered: the kernel says once that something has come, and need not
//! look again at each that has been heard, which costs it a twentieth of a busy server's time. So what
//! was told of and not read is kept in mind: a connection is read on, after the others, until it gives
//! less than was asked for, its end of stream too, as soon as its session wants to be read.

pub mod batch;
pub mod crowd;
pub mod device;
mod driver;
pub mod entrance;
pub mod http;
pub mod listener;
pub mod network;
mod table;
mod timers;
mod wire;

pub use batch::{Batch, Upgrade};
pub use crowd::CrowdRules;
pub use device::Reactor;
pub use driver::EVENTS_MAX;
pub use entrance::EntranceRules;
pub use http::HttpReactor;
pub use listener::Listener;
pub use network::Network;
pub use table::Id;
