//! The decision about a boot file.

use crate::node::boot::files::BootFile;

/// What to do with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Already up to date.
    Keep,
    /// Missing.
    Create,
    /// Written by kpx-prep, with different content or mode.
    Update,
    /// Not written by kpx-prep: kept.
    KeepForeign,
    /// Not written by kpx-prep, to be replaced on request after making a backup.
    ReplaceForeign,
    /// Cannot be replaced or written through.
    InTheWay,
}

impl FileAction {
    /// Whether the file will be written.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::ReplaceForeign)
    }
}

/// A file and its action.
#[derive(Clone, Debug)]
pub struct FileDecision {
    /// The file to have.
    pub file: BootFile,
    /// What to do.
    pub action: FileAction,
}
