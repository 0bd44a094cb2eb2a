//! WebSocket load on one thread: many connections, every answer checked before it is counted.
//!
//! | module         | what is there                                                           |
//! |----------------|-------------------------------------------------------------------------|
//! | [`options`]    | the command line                                                        |
//! | [`frames`]     | client frames out, server frames in (RFC 6455), no I/O                  |
//! | [`check`]      | what a right answer is                                                  |
//! | [`schedule`]   | the intended send times of an open loop                                 |
//! | [`figures`]    | latency histograms and their JSON                                       |
//! | [`machine`]    | CPU time of processes and of the machine, from `/proc`                  |
//! | [`connection`] | one connection: upgrade, frames, what it waits for                      |
//! | [`engine`]     | all connections on one epoll set; gives notices                         |
//! | [`modes`]      | what is done with them: closed, open, storm, idle, slow                 |
//! | [`http`]       | HTTP/1.1 load, a command line of its own                                |
//!
//! `modes` drive `engine`, `engine` owns `connection`s; the rest are leaves.

pub mod check;
pub mod connection;
pub mod engine;
pub mod figures;
pub mod frames;
pub mod http;
pub mod machine;
pub mod modes;
pub mod options;
pub mod schedule;
