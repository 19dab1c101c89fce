//! The glue between actix-web and our HTTP doors: one error body ([`ApiFailure`]), one frame around every request
//! ([`Front`]: request id, client address, canonical path, limits, security headers, access line, metrics), one table
//! of routes ([`Routes`]: who may call what, how often), listeners with TLS that is read again ([`serve()`]), a bound over
//! all bodies at once ([`room`]), and the signed hand-over of requests to another service ([`forward`]).
//!
//! Not for business: a handler gets a [`Caller`] and decides the rest. Read [`Routes`] first, then `frame`.

pub mod audit;
pub mod body;
mod client;
pub mod cookie;
mod credential;
mod failure;
pub mod figures;
pub mod forward;
mod frame;
mod gate;
mod meter;
pub mod mutual;
pub mod outgoing;
mod path;
pub mod probes;
mod query;
mod rate;
mod reload;
pub mod room;
mod routes;
mod screen;
mod serve;
mod spans;
pub mod tls;
pub mod webhook;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use audit::{Auditor, Word};
pub use body::{Body, Json, OptionalJson};
pub use client::{RequestContext, client_address};
pub use credential::{Authenticator, Caller, Credential};
pub use failure::{ApiFailure, ApiResult};
pub use frame::{Frame, Front, Limits, LongBodies};
pub use meter::{HttpMetrics, NoMetrics, RouteMetrics};
pub use query::QueryPairs;
pub use rate::{Limiter, Quotas, RateClass, RateSettings, Taken};
pub use routes::{Access, RouteRow, Routes};
pub use serve::{Listener, ServeOptions, bind, serve};
