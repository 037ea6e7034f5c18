//! The options of `kpx-prep cloud-init` that `kubeadm-config` does not have, and their checks.

use clap::{Args, ValueEnum};

use super::binary::{Binary, RawBinaryOptions, refuse_relative};
use crate::kubeadm::check::{OnNode, check};
use crate::kubeadm::findings::Findings;
use crate::kubeadm::given_options::Scope;
use crate::kubeadm::options::{KubeadmOptions, Purpose};
use crate::kubeadm::proxy::{Mode, RawSettings};
use crate::kubeadm::raw_options::RawOptions;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;

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
    /// How the node gets kpx-prep.
    #[command(flatten)]
    pub binary: RawBinaryOptions,
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
        (for_kubeadm.proxy.mode, for_kubeadm.proxy.scheduler) = (None, None);
    }
    refuse_mixed_secrets(node, raw, on_node, findings);
    let binary = node.binary.check(findings);
    let options = check(&for_kubeadm, purpose, version, on_node, findings);
    let (mode, binary, options) = (mode?, binary?, options?);
    if !findings.problems.is_empty() {
        return None;
    }
    node.binary.refuse_mechanism(mode.mode, findings)?;
    let version = options.version.clone();
    let upload_certs = purpose == Purpose::Init && (options.certificate_key.is_some() || on_node.certificate_key);
    let config = if on_node.any() {
        Config::MadeOnNode(arguments(node, &for_kubeadm, &options.version))
    } else {
        warn_of_secrets(&options, findings);
        Config::InUserData(Box::new(options))
    };
    let needs_binary = mode.mode.traits().is_prepared || on_node.any();
    if needs_binary {
        node.binary.note_default(findings);
    } else {
        findings.note(
            "node-preparation",
            format!("in {} mode the node needs no preparation; the user-data only runs kubeadm", mode.mode),
        );
    }
    Some(NodeOptions {
        role: node.role,
        binary: needs_binary.then_some(binary),
        version,
        boot_mechanism: node.binary.boot_mechanism,
        mode: mode.mode,
        scheduler: raw.proxy.scheduler.clone(),
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
    let all = RawSettings::from_options(&raw.proxy);
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
    for (flag, path) in
        [("--node-token-file", &node.node_token_file), ("--node-certificate-key-file", &node.node_certificate_key_file)]
    {
        if let Some(path) = path {
            refuse_relative(flag, path, findings);
        }
    }
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
