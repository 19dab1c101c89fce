//! What the benchmark programs in `src/bin` share: figures ([`figures`]), what the machine is doing ([`machine`]), our
//! programs as processes ([`process`], [`hub`]), ten thousand fake agents ([`fleet`], in processes of their own: [`fleets`]), a closed-loop load ([`load`]).
//! For what goes through tunnels: the server behind them ([`backend`]), our own tunnel with nothing around it ([`bare`]), those of others
//! ([`contender`]), the whole product before a cluster ([`product`]), and a load that finds its way through any of them ([`wire`]).
//!
//! For operations: what a fake agent does with an order ([`obey`]), and callers who send some ([`operating`]).
//!
//! Rules for honest ratios are in `README.md`; read it before believing a number.

pub mod backend;
pub mod bare;
pub mod contender;
pub mod figures;
pub mod fleet;
pub mod fleets;
pub mod hub;
pub mod load;
pub mod machine;
pub mod obey;
pub mod operating;
pub mod process;
pub mod product;
pub mod wire;
