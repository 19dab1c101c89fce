//! Shapes fixed by the predecessors, spelt as on the wire and pinned by golden JSON. They are translated at the doors and
//! never travel further in.

pub mod changes;
pub mod kubeconfig;
pub mod kubesage;
pub mod mckmt;
