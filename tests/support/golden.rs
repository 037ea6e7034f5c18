//! Goldens: files that hold what is expected. One way to compare for all folders of data, and one way to bless:
//! `BLESS=1 cargo test …` writes what came out, for review as a diff.

use std::fs;
use std::path::Path;

/// Compares one thing after the other; all differences are reported at once.
#[derive(Default)]
pub(crate) struct Goldens {
    compared: usize,
    differences: Vec<String>,
}

impl Goldens {
    /// Compares what came out with a file; writes the file instead if blessed.
    pub(crate) fn compare(&mut self, file: &Path, got: impl AsRef<[u8]>) {
        let got = got.as_ref();
        self.compared += 1;
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, got).unwrap();
        }
        let expected = fs::read(file).unwrap_or_default();
        if got != expected {
            let (expected, got) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(got));
            let diff = similar::TextDiff::from_lines(&*expected, &*got).unified_diff().to_string();
            self.differences.push(format!("{}:\n{diff}", file.display()));
        }
    }

    /// Fails if anything differs, or if less was compared than there must be: then the data was not found.
    pub(crate) fn end(self, at_least: usize) {
        let Self { compared, differences } = self;
        assert!(compared >= at_least, "only {compared} of at least {at_least} were compared");
        let all = differences.join("\n");
        assert!(differences.is_empty(), "{} of {compared} differ; BLESS=1 writes them anew:\n{all}", differences.len());
    }
}
