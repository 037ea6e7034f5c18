//! The options of `kpx-prep capi`, and their checks.

use clap::{Args, ValueEnum};

use crate::cloud_init::binary::{Binary, RawBinaryOptions};
use crate::kubeadm::findings::Findings;
use crate::kubeadm::given_options::Scope;
use crate::kubeadm::proxy::RawSettings;
use crate::kubeadm::raw_options::{RawOptions, RawProxyOptions};
use crate::kubeadm::version_source::remark;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The fields files and preKubeadmCommands
    #[default]
    Files,
    /// A kustomize component that patches `KubeadmControlPlane`, `KubeadmConfigTemplate` and `KubeadmConfig`
    Patch,
    /// An entry for spec.patches of a `ClusterClass`
    #[value(name = "clusterclass")]
    ClusterClass,
}

/// Which machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Machines {
    /// Every machine
    #[default]
    All,
    /// Those of the control plane
    ControlPlane,
    /// The workers
    Workers,
}

/// A list of Cluster API's `KubeadmConfigSpec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum List {
    /// Files to be written
    #[value(name = "files")]
    Files,
    /// Commands that run before kubeadm
    #[value(name = "preKubeadmCommands")]
    PreKubeadmCommands,
}

/// A version of Cluster API's types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ApiVersion {
    /// Up to Cluster API 1.10, and still served
    V1beta1,
    /// Cluster API 1.11 and newer
    #[default]
    V1beta2,
}

/// Options as given.
#[derive(Args, Clone, Debug, Default)]
pub struct RawCapiOptions {
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which machines a patch is for
    #[arg(long, value_enum, default_value_t, help_heading = "Patches")]
    pub machines: Machines,
    /// Lists that the objects do not have yet; the patch creates them instead of appending to them
    #[arg(long, value_enum, value_name = "LIST,...", value_delimiter = ',', help_heading = "Patches")]
    pub create_list: Vec<List>,
    /// API version of the templates that a `ClusterClass` names
    #[arg(long, value_enum, default_value_t, help_heading = "Patches")]
    pub api_version: ApiVersion,
    /// How the machine gets kpx-prep.
    #[command(flatten)]
    pub binary: RawBinaryOptions,
    /// Kubernetes version for which the options are checked; on a machine that of its own kubeadm counts [default: the
    /// newest known]
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// kube-proxy's settings.
    #[command(flatten)]
    pub proxy: RawProxyOptions,
}

/// Checked options.
#[derive(Clone, Debug)]
pub struct CapiOptions {
    /// What is printed.
    pub format: Format,
    /// Which machines.
    pub machines: Machines,
    /// Lists that the objects do not have yet.
    pub create_list: Vec<List>,
    /// The version of the objects that a `ClusterClass` names.
    pub api_version: ApiVersion,
    /// How a machine gets the binary.
    pub binary: Binary,
    /// The cluster's proxy mode.
    pub mode: ProxyMode,
    /// The IPVS scheduler, whose module a machine needs.
    pub scheduler: Option<String>,
    /// The mechanism that loads modules at boot, if the operator named one.
    pub boot_mechanism: Option<Mechanism>,
    /// kube-proxy's settings as options of `kubeadm-config`; the mode always.
    pub settings: Vec<String>,
}

/// Checks all options together. Returns `None` if there are problems, which are then in `findings`.
pub fn check(raw: &RawCapiOptions, findings: &mut Findings) -> Option<CapiOptions> {
    let version = version(raw.kubernetes_version.as_deref(), findings);
    let binary = raw.binary.check(findings);
    for (flag, value) in [("--binary-url", &raw.binary.binary_url), ("--binary-path", &raw.binary.binary_path)] {
        refuse_templates(flag, value.as_deref(), findings);
    }
    refuse_without_patch(raw, findings);
    let settings = RawSettings::from_options(&raw.proxy);
    let mode = version.and_then(|version| settings.check(version.minor(), findings));
    if let Some(mode) = &mode {
        settings.refuse_ipvs_only(mode, findings);
    }
    let (binary, mode) = (binary?, mode?.mode);
    if !findings.problems.is_empty() {
        return None;
    }
    raw.binary.refuse_mechanism(mode, findings)?;
    raw.binary.note_default(findings);
    Some(CapiOptions {
        format: raw.format,
        machines: raw.machines,
        create_list: raw.create_list.clone(),
        api_version: raw.api_version,
        binary,
        mode,
        scheduler: raw.proxy.scheduler.clone(),
        boot_mechanism: raw.binary.boot_mechanism,
        settings: arguments(&raw.proxy, mode),
    })
}

fn version(given: Option<&str>, findings: &mut Findings) -> Option<KubernetesVersion> {
    let Some(given) = given else {
        let newest = KubernetesVersion::newest_known();
        findings.note("version-chosen", format!("the options were checked for Kubernetes {newest}, the newest known version; to check them for another, set --kubernetes-version. On a machine the version of its kubeadm counts"));
        return Some(newest);
    };
    let version = findings.accept("--kubernetes-version", given.parse())?;
    remark(&version, findings);
    Some(version)
}

/// cloud-init reads the user-data as a Jinja template (`cloudConfigHeader` in `bootstrap/kubeadm/pkg/cloudinit/cloudinit.go`),
/// clusterctl replaces `${NAME}` in manifests.
fn refuse_templates(flag: &str, value: Option<&str>, findings: &mut Findings) {
    let Some(value) = value else { return };
    if let Some(mark) = ["${", "{{", "{%", "{#"].into_iter().find(|mark| value.contains(mark)) {
        findings.problem(flag, format!("{value:?} contains {mark}, which clusterctl or cloud-init would replace"));
    }
}

fn refuse_without_patch(raw: &RawCapiOptions, findings: &mut Findings) {
    let message = "is for --format patch and --format clusterclass only";
    if raw.format == Format::Files && raw.machines != Machines::All {
        findings.problem("--machines", message);
    }
    if raw.format == Format::Files && !raw.create_list.is_empty() {
        findings.problem("--create-list", message);
    }
}

/// The mode and the other settings that were given, as options of `kubeadm-config`.
fn arguments(proxy: &RawProxyOptions, mode: ProxyMode) -> Vec<String> {
    let proxy = RawProxyOptions { mode: Some(mode.name().to_owned()), ..proxy.clone() };
    let given = RawOptions { proxy, ..RawOptions::default() }.given();
    let settings = given.into_iter().filter(|option| option.scope == Scope::Proxy);
    settings.map(|option| format!("{}={}", option.flag, option.value)).collect()
}
