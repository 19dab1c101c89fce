//! Operations: orders, the ledger behind them, and what they do to a real cluster.

mod cluster;
mod drift;
mod helm;
mod look;
mod manifests;
mod orders;
mod patience;
mod rig;
mod stops;
mod survival;
mod workloads;
