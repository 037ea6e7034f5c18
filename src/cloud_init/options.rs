//! The options of `kpx-prep cloud-init` that `kubeadm-config` does not have, and their checks.

use clap::{Args, ValueEnum};

use crate::kubeadm::check::{OnNode, check};
use crate::kubeadm::findings::Findings;
use crate::kubeadm::given_options::Scope;
use crate::kubeadm::options::{KubeadmOptions, Purpose};
use crate::kubeadm::proxy::{Mode, RawSettings};
use crate::kubeadm::raw_options::RawOptions;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;

/// Default path of the binary on a node.
pub const DEFAULT_BINARY: &str = "/usr/local/bin/kpx-prep";

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// First control-plane node: kubeadm init.
    ControlPlane,
    /// Additional control-plane node: kubeadm join.
    ControlPlaneJoin,
    /// Worker node: kubeadm join.
    Worker,
}

impl Role {
    /// The purpose of its kubeadm config.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::ControlPlane => Purpose::Init,
            Self::ControlPlaneJoin => Purpose::JoinControlPlane,
            Self::Worker => Purpose::JoinWorker,
        }
    }
}

/// Options of `cloud-init` alone, as given.
#[derive(Args, Clone, Debug)]
pub struct RawNodeOptions {
    /// Role of the node
    #[arg(long)]
    pub role: Role,
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
    /// File on the node with the bootstrap token; keeps it out of the user-data
    #[arg(long, value_name = "PATH", conflicts_with_all = ["token", "token_file"], help_heading = "Secrets")]
    pub node_token_file: Option<String>,
    /// File on the node with the certificate key; keeps it out of the user-data
    #[arg(long, value_name = "PATH", conflicts_with_all = ["certificate_key", "certificate_key_file"], help_heading = "Secrets")]
    pub node_certificate_key_file: Option<String>,
}

/// Checked options.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The role of the node.
    pub role: Role,
    /// How the node gets the binary; `None` if it does not need it.
    pub binary: Option<Binary>,
    /// The cluster's version; the required modules depend on it.
    pub version: KubernetesVersion,
    /// The mechanism that loads modules at boot, if the operator named one.
    pub boot_mechanism: Option<Mechanism>,
    /// The cluster's proxy mode, for which the node is prepared.
    pub mode: ProxyMode,
    /// The IPVS scheduler, whose module the node needs.
    pub scheduler: Option<String>,
    /// How the node gets its kubeadm config.
    pub config: Config,
    /// Whether kubeadm uploads the control-plane certificates, encrypted with the certificate key.
    pub upload_certs: bool,
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

/// How a node gets its kubeadm config.
#[derive(Clone, Debug)]
pub enum Config {
    /// It is part of the user-data.
    InUserData(Box<KubeadmOptions>),
    /// It is generated on the node by `kpx-prep kubeadm-config` with these arguments.
    MadeOnNode(Vec<String>),
}

/// Checks all options together. Returns `None` if there are problems, which are then in `findings`.
pub fn check_all(
    node: &RawNodeOptions,
    raw: &RawOptions,
    version: Option<KubernetesVersion>,
    findings: &mut Findings,
) -> Option<NodeOptions> {
    let purpose = node.role.purpose();
    let on_node =
        OnNode { token: node.node_token_file.is_some(), certificate_key: node.node_certificate_key_file.is_some() };
    let mode = check_mode(raw, purpose, version.as_ref(), findings);
    // A joining node's kubeadm config has no mode; here the mode decides how the node is prepared.
    let mut for_kubeadm = raw.clone();
    if purpose != Purpose::Init {
        (for_kubeadm.mode, for_kubeadm.scheduler) = (None, None);
    }
    refuse_mixed_secrets(node, raw, on_node, findings);
    let binary = check_binary(node, findings);
    let options = check(&for_kubeadm, purpose, version, on_node, findings);
    let (mode, binary, options) = (mode?, binary?, options?);
    if !findings.problems.is_empty() {
        return None;
    }
    if node.boot_mechanism.is_some() && !mode.mode.traits().is_prepared {
        findings
            .problem("--boot-mechanism", "is for ipvs and nftables mode only; iptables mode loads no modules at boot");
        return None;
    }
    let version = options.version.clone();
    let upload_certs = purpose == Purpose::Init && (options.certificate_key.is_some() || on_node.certificate_key);
    let config = if on_node.any() {
        Config::MadeOnNode(arguments(node, &for_kubeadm, &options.version))
    } else {
        warn_of_secrets(&options, findings);
        Config::InUserData(Box::new(options))
    };
    let needs_binary = mode.mode.traits().is_prepared || on_node.any();
    if !needs_binary {
        findings.note(
            "node-preparation",
            format!("in {} mode the node needs no preparation; the user-data only runs kubeadm", mode.mode),
        );
    } else if node.binary_url.is_none() && node.binary_path.is_none() {
        findings.note(
            "binary-path",
            format!("kpx-prep must exist on the node at {DEFAULT_BINARY}; to download it, set --binary-url"),
        );
    }
    Some(NodeOptions {
        role: node.role,
        binary: needs_binary.then_some(binary),
        version,
        boot_mechanism: node.boot_mechanism,
        mode: mode.mode,
        scheduler: raw.scheduler.clone(),
        config,
        upload_certs,
    })
}

/// The mode of a cluster that the node joins; for a new cluster the config's own check reports problems.
fn check_mode(
    raw: &RawOptions,
    purpose: Purpose,
    version: Option<&KubernetesVersion>,
    findings: &mut Findings,
) -> Option<Mode> {
    let all = RawSettings::from_options(raw);
    let wanted = RawSettings { mode: all.mode, scheduler: all.scheduler, ..RawSettings::default() };
    let minor = version?.minor();
    if purpose == Purpose::Init {
        return wanted.check(minor, &mut Findings::default());
    }
    let mode = wanted.check(minor, findings)?;
    wanted.refuse_ipvs_only(&mode, findings);
    Some(mode)
}

fn refuse_mixed_secrets(node: &RawNodeOptions, raw: &RawOptions, on_node: OnNode, findings: &mut Findings) {
    if on_node.certificate_key && node.role == Role::Worker {
        findings.problem("--node-certificate-key-file", "is for control-plane nodes only");
    }
    let given = raw.given();
    let in_user_data = given.iter().filter(|option| matches!(option.scope, Scope::Token | Scope::CertificateKey));
    if on_node.any() {
        for option in in_user_data {
            findings.problem(option.flag, "cannot be combined with a secret in a file on the node; use --node-token-file and --node-certificate-key-file for both");
        }
    }
    for (flag, path) in [
        ("--node-token-file", &node.node_token_file),
        ("--node-certificate-key-file", &node.node_certificate_key_file),
        ("--binary-path", &node.binary_path),
    ] {
        if let Some(path) =
            path.as_deref().filter(|path| !path.starts_with('/') || path.contains(|c: char| c.is_control()))
        {
            findings.problem(flag, format!("{path:?} is not an absolute path"));
        }
    }
}

fn check_binary(node: &RawNodeOptions, findings: &mut Findings) -> Option<Binary> {
    let sha256 = node.sha256.as_ref().map(|text| text.to_ascii_lowercase());
    if sha256.as_ref().is_some_and(|text| text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit())) {
        findings.problem("--sha256", "must be 64 hexadecimal digits (see: sha256sum kpx-prep)");
    }
    let Some(url) = &node.binary_url else {
        let path = node.binary_path.as_deref().unwrap_or(DEFAULT_BINARY).to_owned();
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

fn warn_of_secrets(options: &KubeadmOptions, findings: &mut Findings) {
    for (secret, what, option) in [
        (&options.token, "bootstrap token", "--node-token-file"),
        (&options.certificate_key, "certificate key", "--node-certificate-key-file"),
    ] {
        if secret.is_some() {
            findings.warn("secret-in-user-data", format!(
                "the {what} is embedded in the user-data, which pods on the node can read from the metadata service; to keep it in a file on the node, use {option}"
            ));
        }
    }
}

/// The arguments that generate the same config on the node, for this version.
fn arguments(node: &RawNodeOptions, raw: &RawOptions, version: &KubernetesVersion) -> Vec<String> {
    let mut arguments = vec!["kubeadm-config".to_owned()];
    match node.role.purpose() {
        Purpose::Init => {}
        Purpose::JoinWorker => arguments.push("--join".to_owned()),
        Purpose::JoinControlPlane => {
            arguments.extend(["--join", "--control-plane"].map(ToOwned::to_owned));
        }
    }
    arguments.push(format!("--kubernetes-version={}", version.for_kubeadm()));
    for option in raw.given().into_iter().filter(|option| option.scope != Scope::Version) {
        let switch = option.value.is_empty();
        arguments.push(if switch { option.flag.to_owned() } else { format!("{}={}", option.flag, option.value) });
    }
    let files = [("--token-file", &node.node_token_file), ("--certificate-key-file", &node.node_certificate_key_file)];
    arguments.extend(files.into_iter().filter_map(|(flag, path)| Some(format!("{flag}={}", path.as_ref()?))));
    arguments
}
