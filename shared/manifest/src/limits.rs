//! Every bound on a manifest, in one place.

pub use roadstead_contracts::operation::{BODY_MAX, OBJECTS_MAX};

/// Documents of a body, empty ones and lists included: a chart writes a `---` for each template that renders to nothing.
pub const DOCUMENTS_MAX: usize = 2 * OBJECTS_MAX;
/// Nesting of an object. CRDs with a pod template in their schema reach about 60; serde_json reads 128, and an object rides
/// inside messages.
pub const DEPTH_MAX: usize = 100;
/// Scalars and collections of a body: 8 MiB of ordinary manifests hold about 400,000.
pub const NODES_MAX: usize = 1_000_000;
/// Nodes that anchors keep and aliases copy, together: a person's anchors save a few hundred lines.
pub const ALIAS_NODES_MAX: usize = 20_000;
/// Bytes of text that they copy.
pub const ALIAS_BYTES_MAX: usize = 1024 * 1024;
/// Faults that are named in one answer: enough to mend a file in a few rounds.
pub const FAULTS_MAX: usize = 20;
/// Longest name of a source that is shown.
pub const SOURCE_MAX: usize = 128;
/// Files of one body.
pub const FILES_MAX: usize = 1_000;
/// Longest diff of one object: a screenful of screens.
pub const DIFF_MAX: usize = 64 * 1024;
/// Longest text of an object that is compared line by line.
pub const DIFF_INPUT_MAX: usize = 2 * 1024 * 1024;
