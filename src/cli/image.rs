//! `kpx-prep image`: write the node helper's image, without docker and without a registry.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::atomic_file;
use crate::bounded;
use crate::exit_code::{Exit, Refusal};
use crate::image::DEFAULT_NAME;
use crate::image::archive::{Binary, archive};
use crate::image::elf::platform;
use crate::report::say::say;

/// The release binary has a few MiB; a debug build has some hundred.
const LARGEST: u64 = 1 << 30;

/// Write the node helper's image as an OCI archive, which every container runtime can load
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep image --output-file kpx-prep.tar
  kpx-prep image | ssh NODE sudo ctr -n k8s.io images import -
  kpx-prep image --name registry.example.org/kpx-prep:1 --output-file both.tar \\
    --binary kpx-prep-amd64 --binary kpx-prep-arm64
  skopeo copy oci-archive:both.tar docker://registry.example.org/kpx-prep:1")]
pub(super) struct ImageArgs {
    /// Write to this file [default: stdout]
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Binary to include; repeat for each architecture [default: the running binary]
    #[arg(long, value_name = "FILE")]
    binary: Vec<PathBuf>,
    /// Name of the image; pass it to kpx-prep remediate with --node-image
    #[arg(long, value_name = "NAME:TAG", default_value = DEFAULT_NAME, value_parser = image_name)]
    name: String,
}

impl ImageArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.output_file.is_none() && io::stdout().is_terminal() {
            return Err(Refusal::usage(
                "refusing to write a binary archive to a terminal; use --output-file or redirect stdout",
            ));
        }
        let paths = if self.binary.is_empty() {
            vec![std::env::current_exe().context("locating the running binary; nothing was written")?]
        } else {
            self.binary.clone()
        };
        let mut files = Vec::new();
        for path in &paths {
            let bytes = read(path)?;
            let platform = platform(&bytes).map_err(|unfit| {
                Refusal::usage(format!(
                    "{}: {unfit}; nothing was written. The image needs the static release binary: run make build, or set --binary FILE",
                    path.display()
                ))
            })?;
            if let Some((other, ..)) = files.iter().find(|(_, known, _)| *known == platform) {
                let other: &&Path = other;
                return Err(Refusal::usage(format!(
                    "{} and {} are both for {platform}; nothing was written",
                    other.display(),
                    path.display()
                )));
            }
            files.push((path.as_path(), platform, bytes));
        }
        let binaries: Vec<_> = files.iter().map(|(_, platform, bytes)| Binary { platform, bytes }).collect();
        let archive = archive(&self.name, &binaries).context("building the archive; nothing was written")?;
        match &self.output_file {
            Some(path) => {
                atomic_file::replace(path, &archive, 0o644)
                    .with_context(|| format!("writing {}; the existing file was not changed", path.display()))?;
                say(&format!("{}: image {} ({} bytes)", path.display(), self.name, archive.len()));
            }
            None => write_out(&archive)?,
        }
        Ok(Exit::Done)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    match bounded::read_named(path, LARGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Refusal::usage(format!("--binary {}: no such file; nothing was written", path.display())))
        }
        result => result.with_context(|| format!("reading {}; nothing was written", path.display())),
    }
}

fn write_out(archive: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(archive).and_then(|()| stdout.flush()).context("writing the archive to standard output")
}

/// A name with a tag, as the runtimes accept it: no upper case, no digest, a tag at the end.
fn image_name(text: &str) -> Result<String, String> {
    let wrong = || "expected a name with a tag, such as registry.example.org/kpx-prep:1".to_owned();
    let (path, tag) = text.rsplit_once(':').ok_or_else(wrong)?;
    let of_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let of_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let starts = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let fits = starts(path) && path.chars().all(of_path) && !path.ends_with('/') && !path.contains("//");
    let tagged = !tag.is_empty() && tag.len() <= 128 && tag.chars().all(of_tag) && !tag.starts_with(['.', '-']);
    if fits && tagged { Ok(text.to_owned()) } else { Err(wrong()) }
}
