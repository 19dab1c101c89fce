//! The one place that decides who may do what: roles, the scope of a credential, ownership and grants of clusters, and
//! the rules of the policy, put together. Pure: no I/O, no clock, nothing async.
//!
//! In this order, and denied by default:
//! 1. what the caller cannot see does not exist ([`Ground::Invisible`]);
//! 2. a deny rule that touches what is asked wins, whoever grants it;
//! 3. the scope of the credential narrows, whatever else is granted;
//! 4. the caller's roles grant it, on clusters that are owned or were granted;
//! 5. an allow rule that covers all of what is asked grants it.
//!
//! *Touches* and *covers* differ where a request is wider than a rule, see [`mod@matches`]. Doors ask [`fn@decide`] about the
//! request they have read, once, after its cluster was found (what goes to a cluster's own API: [`fn@judge`], after
//! [`kubernetes`] has read it); the table of routes asks [`gate`]; lists ask [`sees`].
//! [`Policy`] is a whole set of rules with an index, for the service that owns them.

mod ask;
mod compile;
mod decide;
mod judge;
pub mod kubernetes;
pub mod matches;
mod verdict;

pub use ask::{Asked, Object, Place};
pub use compile::{Policy, Who};
pub use decide::{decide, decide_by, gate, sees};
pub use judge::{
    As, Judgement, Namespaces, denied, enters, judge, judge_acting, judge_change, lists_namespaces_by, namespaces,
};
pub use verdict::{Ground, Verdict};
