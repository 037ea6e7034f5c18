//! The image of the node helper: an archive of the running static binary that container runtimes load without a
//! registry. [`elf`] tells what a binary runs on, [`archive`] makes the archive. Same binaries, same bytes.

pub mod archive;
pub mod elf;

/// The name under which the archive's image is loaded, unless another is asked for.
///
/// `localhost` is a registry nobody asks: the kubelet finds the image on its node, or says that it is not there.
pub const DEFAULT_NAME: &str = concat!("localhost/kpx-prep:", env!("CARGO_PKG_VERSION"));

/// Where the binary is in the image.
pub const PROGRAM: &str = "/kpx-prep";
