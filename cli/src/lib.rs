//! The library behind the `roadstead` program: its command line ([`args`]), the hub in one process ([`up`]), the commands
//! that run or look after a hub ([`hub`]), the wiring they share with the whole-mesh tests ([`wiring`]), and the client
//! commands ([`client`]).

pub mod args;
pub mod client;
pub mod hub;
pub mod up;
pub mod wiring;
