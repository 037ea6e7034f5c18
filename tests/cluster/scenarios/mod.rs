//! What is tried, a file per subject.

mod harness;

use libtest_mimic::Trial;

/// All of it.
pub(crate) fn all() -> Vec<Trial> {
    [harness::trials()].into_iter().flatten().collect()
}
