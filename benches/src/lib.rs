//! What the benchmark programs in `src/bin` share: figures ([`figures`]), what the machine is doing ([`machine`]), our
//! programs as processes ([`process`], [`hub`]), ten thousand fake agents ([`fleet`], in processes of their own: [`fleets`]), a closed-loop load ([`load`]).
//!
//! Rules for honest ratios are in `README.md`; read it before believing a number.

pub mod figures;
pub mod fleet;
pub mod fleets;
pub mod hub;
pub mod load;
pub mod machine;
pub mod process;
