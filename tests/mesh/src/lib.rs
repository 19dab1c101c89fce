//! The whole product as its users run it: real programs, a real cluster, real servers.
//!
//! [`TestMesh`] starts either `roadstead up` or the four services with two replicas of `cluster` and `onboarding` over
//! RabbitMQ, PostgreSQL and Redis. The scenarios in `tests/it` run on both and know no difference. Nothing here links a service:
//! what is tested is what is shipped.

mod api;
mod balancer;
mod browser;
pub mod checker;
mod cluster;
mod compose;
mod kubectl;
mod layout;
mod listening;
mod mesh;
mod program;
mod python;
mod strait;
mod tls;
mod wire;

pub use api::{Answer, Api};
pub use balancer::Balancer;
pub use browser::{Page, answers};
pub use cluster::{client, own_namespaces};
pub use kubectl::{Kubectl, Output};
pub use layout::{Layout, Tuning};
pub use mesh::{JOIN_LIMIT, KILL, READY_LIMIT, TestMesh, UNRULY, create_api_key};
pub use python::python_with;
pub use strait::{Passage, Strait};
pub use wire::{Break, Direction, Wire};
