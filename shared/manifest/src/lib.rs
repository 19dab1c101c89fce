//! Manifests: text to objects and back, without any input or output of its own.
//!
//! - [`parse`]: YAML, JSON, lists and JSON lines to [`Document`]s, within [`limits`]; every fault names file, document and
//!   line. [`fn@bundle`] and [`render`] put several files, or documents already read, into one body that [`parse`] reads.
//! - [`keys`]: which objects they are, checked before anything is sent anywhere; `order` in which to apply them.
//! - [`fn@diff`]: what changes, for people, without managed fields and without a Secret's values.
//! - [`check_chart`]: what an archive of a Helm chart is, and whether it may be unpacked at all; [`fn@files`]: a bundle's files.
//! - [`merge_patch`]: RFC 7396. [`fn@strip`], [`content`] and [`prepare`]: an object as it is kept,
//!   compared and sent.
//!
//! It knows no cluster: what only an API server knows (which kinds there are, which are cluster-wide) is the agent's to
//! ask. Read `yaml.rs` next for what is taken as YAML and what is refused.

mod bundle;
mod chart;
mod diff;
mod document;
mod fault;
mod json;
pub mod limits;
mod object;
mod order;
mod patch;
mod print;
mod scalar;
mod strip;
mod yaml;

pub use bundle::{bundle, render};
pub use chart::{CHART_ENTRIES_MAX, CHART_UNPACKED_MAX, Chart, check_chart, files};
pub use diff::diff;
pub use document::{Document, parse, parse_named};
pub use object::{is_cluster_wide, key, keys};
pub use order::{apply_order, delete_order};
pub use patch::merge_patch;
pub use print::to_yaml;
pub use strip::{content, prepare, strip};
