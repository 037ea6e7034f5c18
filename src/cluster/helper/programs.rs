//! The node programs (`kpx-prep-node`) that this kpx-prep carries, one for each architecture.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use sha2::{Digest as _, Sha256};

use crate::bounded;
use crate::exit_code::Refusal;
use crate::image::elf::platform;

/// What a `ConfigMap` can hold: `MaxSecretSize` of the API server, less the room for names.
pub const LARGEST: u64 = (1 << 20) - (1 << 10);

/// Packed; made by build.rs.
const CARRIED: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/node_programs.rs"));

/// A node program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgram {
    /// Its architecture, as GOARCH: `amd64`.
    pub architecture: String,
    /// The file.
    pub content: Arc<[u8]>,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

impl NodeProgram {
    fn new(architecture: &str, content: Vec<u8>) -> Self {
        let sha256 = hash(&content);
        Self { architecture: architecture.to_owned(), content: content.into(), sha256 }
    }

    /// The program in a file, which must be static and fit into a `ConfigMap`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let refuse =
            |why: String| Refusal::usage(format!("--node-program {}: {why}; nothing was changed", path.display()));
        let content = bounded::read_named(path, LARGEST).map_err(|error| refuse(error.to_string()))?;
        let architecture = platform(&content).map_err(|error| refuse(error.to_string()))?;
        Ok(Self::new(architecture, content))
    }
}

/// SHA-256 in hexadecimal digits.
pub fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is carried, in a line.
pub fn describe() -> String {
    let architectures: Vec<&str> = CARRIED.iter().map(|(architecture, _)| *architecture).collect();
    if architectures.is_empty() {
        return format!("none; {HOW_TO_CARRY}");
    }
    architectures.join(", ")
}

/// What to do with a build that carries none.
pub const HOW_TO_CARRY: &str =
    "build kpx-prep with make build, or with KPX_PREP_NODE_PROGRAMS=$(packaging/node-programs) cargo build";

/// The carried programs.
///
/// # Panics
/// If the build is broken: they are packed by build.rs.
pub fn carried() -> Vec<NodeProgram> {
    let unpacked = |(architecture, packed): &(&str, &[u8])| {
        let mut content = Vec::new();
        DeflateDecoder::new(*packed).take(LARGEST).read_to_end(&mut content).expect("packed by build.rs");
        NodeProgram::new(architecture, content)
    };
    CARRIED.iter().map(unpacked).collect()
}
