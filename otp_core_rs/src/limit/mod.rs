//! Rate limits: the windows of one key (`windows`) and the bounded table of all keys (`table`).

pub mod table;
pub mod windows;
