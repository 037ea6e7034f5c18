//! What `kpx-prep cloud-init` takes besides the options of `kubeadm-config`, checked.

use clap::{Args, ValueEnum};

use crate::kubeadm::check::{OnNode, check};
use crate::kubeadm::given_options::Scope;
use crate::kubeadm::options::{Options, Purpose};
use crate::kubeadm::problem::Findings;
use crate::kubeadm::proxy::{Mode, RawSettings};
use crate::kubeadm::raw_options::RawOptions;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::mechanism::Mechanism;

/// Where the binary is on a node, unless it is told.
pub const DEFAULT_BINARY: &str = "/usr/local/bin/kpx-prep";

/// What a node becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The first control-plane node: kubeadm init.
    ControlPlane,
    /// A further control-plane node: kubeadm join.
    ControlPlaneJoin,
    /// A worker: kubeadm join.
    Worker,
}

impl Role {
    /// What its kubeadm config is for.
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
    /// What the node becomes
    #[arg(long)]
    pub role: Role,
    /// Where a node downloads kpx-prep from; needs --sha256
    #[arg(long, value_name = "URL", conflicts_with = "binary_path", help_heading = "kpx-prep on the node")]
    pub binary_url: Option<String>,
    /// Where kpx-prep is on the node already [default: /usr/local/bin/kpx-prep]
    #[arg(long, value_name = "PATH", help_heading = "kpx-prep on the node")]
    pub binary_path: Option<String>,
    /// The binary's SHA-256; it is checked before the binary is run
    #[arg(long, value_name = "HEX", help_heading = "kpx-prep on the node")]
    pub sha256: Option<String>,
    /// What loads modules at boot on the node, where kpx-prep does not detect it: you vouch for it
    #[arg(long, value_name = "NAME", help_heading = "kpx-prep on the node")]
    pub boot_mechanism: Option<Mechanism>,
    /// A file on the node that holds the bootstrap token, so that it is not in the user-data
    #[arg(long, value_name = "PATH", conflicts_with_all = ["token", "token_file"], help_heading = "Secrets")]
    pub node_token_file: Option<String>,
    /// A file on the node that holds the certificate key, so that it is not in the user-data
    #[arg(long, value_name = "PATH", conflicts_with_all = ["certificate_key", "certificate_key_file"], help_heading = "Secrets")]
    pub node_certificate_key_file: Option<String>,
}

/// Checked options.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// What the node becomes.
    pub role: Role,
    /// How the node gets the binary; none if it needs none.
    pub binary: Option<Binary>,
    /// The cluster's version: what the node must have depends on it.
    pub version: KubernetesVersion,
    /// What loads modules at boot on the node, where the operator vouches for it.
    pub boot_mechanism: Option<Mechanism>,
    /// The cluster's proxy mode. In ipvs mode the node is prepared.
    pub mode: ProxyMode,
    /// The scheduler whose module the node must have.
    pub scheduler: Option<String>,
    /// How the node gets its kubeadm config.
    pub config: Config,
    /// Whether control-plane certificates are to be shared by their key.
    pub upload_certs: bool,
}

/// How a node gets the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Downloaded, to [`DEFAULT_BINARY`].
    Url {
        /// From here.
        url: String,
        /// With this SHA-256.
        sha256: String,
    },
    /// Already on the node.
    Path {
        /// There.
        path: String,
        /// With this SHA-256, if it is to be checked.
        sha256: Option<String>,
    },
}

/// How a node gets its kubeadm config.
#[derive(Clone, Debug)]
pub enum Config {
    /// It stands in the user-data.
    InUserData(Box<Options>),
    /// It is made on the node by `kpx-prep kubeadm-config` with these arguments.
    MadeOnNode(Vec<String>),
}

/// Checks everything at once. What is wrong is in `findings`, and then there are no options.
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
    // A joining node's kubeadm config has no mode; here it says what the node must be prepared for.
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
    if node.boot_mechanism.is_some() && mode.mode != ProxyMode::Ipvs {
        findings.problem("--boot-mechanism", "is for ipvs mode only: in other modes no module is loaded at boot");
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
    let needs_binary = mode.mode == ProxyMode::Ipvs || on_node.any();
    if !needs_binary {
        findings.note(format!("in {} mode the node needs no preparation: its user-data only runs kubeadm", mode.mode));
    } else if node.binary_url.is_none() && node.binary_path.is_none() {
        findings.note(format!("the node must have kpx-prep at {DEFAULT_BINARY}; --binary-url has it downloaded"));
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

/// The mode of a cluster that the node joins; for a new cluster the config's own check says what is wrong.
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
            findings.problem(option.flag, "one secret is in a file on the node, so this one must be too (--node-token-file, --node-certificate-key-file)");
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
        findings.problem("--sha256", "not 64 hexadecimal digits (sha256sum kpx-prep shows them)");
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
        findings.problem("--sha256", "a download is run only if its SHA-256 is the one given here");
        return None;
    };
    Some(Binary::Url { url: url.clone(), sha256 })
}

fn warn_of_secrets(options: &Options, findings: &mut Findings) {
    for (secret, what, option) in [
        (&options.token, "bootstrap token", "--node-token-file"),
        (&options.certificate_key, "certificate key", "--node-certificate-key-file"),
    ] {
        if secret.is_some() {
            findings.warn(format!(
                "the {what} stands in the user-data, which pods on the node can read from the metadata service; {option} takes it from a file on the node instead"
            ));
        }
    }
}

/// The arguments that make the same config on the node, the version fixed.
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
