//! Operations: orders, the ledger behind them, and what they do to a real cluster.

mod cluster;
mod helm;
mod manifests;
mod orders;
mod rig;
mod survival;
mod workloads;
