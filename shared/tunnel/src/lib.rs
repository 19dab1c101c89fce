//! Many streams in one connection between an agent and the hub.
//!
//! - [`frame`]: the bytes. One enum of frame numbers; encode and decode, nothing else.
//! - [`machine`]: the rules (ids, credit, order, offences) as a state machine without I/O, clock or task.
//! - [`session`]: one task per connection that drives a machine over a [`transport`]: WebSocket ([`ws`]), any
//!   `AsyncRead + AsyncWrite` ([`transport::Framed`]) or memory ([`transport::pipe`]).
//! - [`exchange`]: one HTTP exchange on a stream, for requests that go on to an API server.
//! - [`door`]: the HTTP/1.1 door that agents dial: plain answers and upgrades on one listener.
//!
//! Credit is given per stream and per session and only for what was drained, so memory is bounded by construction; the
//! reading side never waits for a stream. Who may connect and what a stream is for is not decided here: heads and
//! notices are bytes (`contracts::agent` says what is in them). Read [`frame`] first.

mod bucket;
pub mod door;
mod error;
pub mod exchange;
pub mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod lines;
pub mod machine;
pub mod session;
pub mod transport;
pub mod ws;

pub use error::{CloseReason, Error, Result};
pub use frame::{Class, Code, StreamId};
pub use session::{Event, Incoming, Options, Role, Session, Stream, Writer, start};
