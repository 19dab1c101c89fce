//! Plain types and rules: no I/O, no `async`.

mod agent;
mod cluster;
mod facts;
mod join_token;
mod view;
mod whereabouts;

pub(crate) use agent::{AgentKind, AgentRecord};
pub(crate) use cluster::{ClusterRecord, ClusterRef, status_of};
pub(crate) use facts::{cut_facts, cut_text};
pub(crate) use join_token::{TokenRecord, check_new_token, check_profile, profile_from, profile_word};
pub(crate) use view::View;
pub(crate) use whereabouts::Whereabouts;
