//! What is to happen to a boot file.

use super::boot_files::BootFile;

/// What to do with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// As wanted already.
    Keep,
    /// Not there.
    Create,
    /// Ours, with other content or mode.
    Update,
    /// Somebody else's: stays.
    KeepForeign,
    /// Somebody else's, to be replaced on request after copying it.
    ReplaceForeign,
    /// Can be neither replaced nor written through.
    InTheWay,
}

impl FileAction {
    /// Whether the file gets written.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::ReplaceForeign)
    }
}

/// One file with what is to happen to it.
#[derive(Clone, Debug)]
pub struct FileDecision {
    /// As it is to be.
    pub file: BootFile,
    /// What to do.
    pub action: FileAction,
}
