//! The image of the node helper: an archive of the running static binary that container runtimes load without a
//! registry. [`elf`] finds a binary's platform, [`archive`] builds the archive. The same binaries give the same bytes.

pub mod archive;
pub mod elf;

/// The default name of the image.
///
/// Images of `localhost` are not pulled: the kubelet uses the image on its node, or reports that it is missing.
pub const DEFAULT_NAME: &str = concat!("localhost/kpx-prep:", env!("CARGO_PKG_VERSION"));

/// Where the binary is in the image.
pub const PROGRAM: &str = "/kpx-prep";
