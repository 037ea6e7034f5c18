//! Changing one key of a YAML text and keeping every other byte; and writing YAML that every reader takes.
//!
//! Reading is for finding places, not for values of types: a [`Node`] knows its text, its place and how it
//! was written. [`set`] splices the new value into the text, then has the result parsed again by two readers and
//! refuses unless the intended key is the only difference to both, so a case that the splicing gets wrong is an error and
//! never a changed file. [`Value`] writes scalars so that readers of YAML 1.1 (kubeadm, kube-proxy,
//! cloud-init) and 1.2 see the same.
//!
//! What it does not do: remove keys, edit inside sequences, follow aliases, merge keys.

mod append;
mod edit;
mod error;
mod line_ends;
mod place;
mod resolve;
mod scalar;
mod second_reader;
mod tree;
mod value;
mod verify;

pub use append::append_document;
pub use edit::set;
pub use error::EditError;
pub use line_ends::check_line_ends;
pub use scalar::{quoted, scalar};
pub use tree::{Document, Kind, Node, ScalarStyle, parse};
pub use value::Value;
