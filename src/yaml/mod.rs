//! Editing one key of a YAML text while keeping every other byte, and writing YAML that every reader understands.
//!
//! Reading is for finding places, not for typed values: a [`Node`] has its text, its place and its style. [`set`] splices
//! the new value into the text, parses the result with two readers, and refuses the edit unless the intended key is the
//! only difference for both. So a wrong splice is an error and never a changed file. [`Value`] writes scalars so that
//! readers of YAML 1.1 (kubeadm, kube-proxy, cloud-init) and 1.2 read the same.
//!
//! Not supported: removing keys, editing inside sequences, following aliases, merge keys.

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
