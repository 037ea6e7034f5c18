//! How a node gets kpx-prep, and prepares itself with it: the options, and their checks.

use clap::Args;

use crate::kubeadm::findings::Findings;
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;

/// Default path of the binary on a node.
pub const DEFAULT_BINARY: &str = "/usr/local/bin/kpx-prep";

/// The options as given.
#[derive(Args, Clone, Debug, Default)]
pub struct RawBinaryOptions {
    /// URL from which the node downloads kpx-prep; requires --sha256
    #[arg(long, value_name = "URL", conflicts_with = "binary_path", help_heading = "kpx-prep on the node")]
    pub binary_url: Option<String>,
    /// Path of an existing kpx-prep on the node [default: /usr/local/bin/kpx-prep]
    #[arg(long, value_name = "PATH", help_heading = "kpx-prep on the node")]
    pub binary_path: Option<String>,
    /// SHA-256 of the binary, verified before it is run
    #[arg(long, value_name = "HEX", help_heading = "kpx-prep on the node")]
    pub sha256: Option<String>,
    /// Mechanism that loads modules at boot, if detection fails; you guarantee that it works on the node
    #[arg(long, value_name = "NAME", help_heading = "kpx-prep on the node")]
    pub boot_mechanism: Option<Mechanism>,
}

/// How a node gets the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Downloaded, to [`DEFAULT_BINARY`].
    Url {
        /// The URL.
        url: String,
        /// Its expected SHA-256.
        sha256: String,
    },
    /// Already on the node.
    Path {
        /// Its path.
        path: String,
        /// Its expected SHA-256, if it is to be verified.
        sha256: Option<String>,
    },
}

impl RawBinaryOptions {
    /// How the node gets the binary; `None` if there are problems, which are then in `findings`.
    pub fn check(&self, findings: &mut Findings) -> Option<Binary> {
        if let Some(path) = &self.binary_path {
            refuse_relative("--binary-path", path, findings);
        }
        let sha256 = self.sha256.as_ref().map(|text| text.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|text| text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit())) {
            findings.problem("--sha256", "must be 64 hexadecimal digits (see: sha256sum kpx-prep)");
        }
        let Some(url) = &self.binary_url else {
            let path = self.binary_path.as_deref().unwrap_or(DEFAULT_BINARY).to_owned();
            return Some(Binary::Path { path, sha256 });
        };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
        if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\`<>".contains(&b)) {
            findings.problem("--binary-url", format!("{url:?} is not an http or https URL"));
        }
        let Some(sha256) = sha256 else {
            findings.problem("--sha256", "required with --binary-url, to verify the download");
            return None;
        };
        Some(Binary::Url { url: url.clone(), sha256 })
    }

    /// Refuses `--boot-mechanism` with a mode that needs no modules at boot; `None` if it does.
    pub fn refuse_mechanism(&self, mode: ProxyMode, findings: &mut Findings) -> Option<()> {
        if self.boot_mechanism.is_none() || mode.traits().is_prepared {
            return Some(());
        }
        findings
            .problem("--boot-mechanism", "is for ipvs and nftables mode only; iptables mode loads no modules at boot");
        None
    }

    /// Notes where the binary must be if no option says how the node gets it.
    pub fn note_default(&self, findings: &mut Findings) {
        if self.binary_url.is_none() && self.binary_path.is_none() {
            findings.note(
                "binary-path",
                format!("kpx-prep must exist on the node at {DEFAULT_BINARY}; to download it, set --binary-url"),
            );
        }
    }
}

/// Refuses what is not an absolute path.
pub(super) fn refuse_relative(flag: &str, path: &str, findings: &mut Findings) {
    if !path.starts_with('/') || path.contains(|c: char| c.is_control()) {
        findings.problem(flag, format!("{path:?} is not an absolute path"));
    }
}
