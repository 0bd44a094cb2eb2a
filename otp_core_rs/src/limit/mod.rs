//! Rate limits.
//!
//! | module      | what is there                                                     |
//! |-------------|-------------------------------------------------------------------|
//! | [`windows`] | the windows of one key, exact                                     |
//! | [`table`]   | the bounded table of all keys                                     |
//! | [`named`]   | a limit: a table with a name, and what is not decided yet         |
//! | [`row`]     | limits that are asked and charged together, all or none           |
//! | [`quotas`]  | what is left of them, as a caller may know it, and its two texts  |

pub mod named;
pub mod quotas;
pub mod row;
pub mod table;
pub mod windows;
