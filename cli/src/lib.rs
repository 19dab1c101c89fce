//! The library behind the `roadstead` program: its command line ([`args`]) and the client commands ([`client`]).

pub mod args;
pub mod client;
