//! `--from`: completes an existing kubeadm file. Its `KubeProxyConfiguration` is edited in place or added; every other
//! document, and every other byte, is kept.

use super::file_checks::check_documents;
use super::findings::{Findings, place};
use super::given::Given;
use super::given_options::Scope;
use super::kinds::Kinds;
use super::proxy::{Mode, RawSettings};
use super::raw_options::RawOptions;
use super::render::proxy_configuration;
use super::{kinds, parts, version_source};
use crate::cidr::Cidr;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::proxy_config::refused;
use crate::report::foreign::foreign;
use crate::yaml::{Document, Kind, Node, ScalarStyle, append_document, check_line_ends, parse, set};

/// The completed text; `None` if there are problems, which are then in `findings`.
///
/// `name` is the file's name in messages. The Kubernetes version is the one given, else the file's own, else
/// the local kubeadm's or the newest known.
pub fn complete(name: &str, text: &str, raw: &RawOptions, findings: &mut Findings) -> Option<String> {
    refuse_other_options(name, raw, findings);
    let documents = match check_line_ends(text).and_then(|()| parse(text)) {
        Ok(documents) => documents,
        Err(error) => {
            findings.problem(name, error);
            return None;
        }
    };
    let roots: Vec<&Node> = documents.iter().map(|document| &document.root).collect();
    let kinds = Kinds::find(name, &roots, findings);
    let version = version(name, &kinds, &roots, raw, findings);
    parts::check(name, text, &roots, version.as_ref().map_or(34, KubernetesVersion::minor), findings);
    check_documents(name, &kinds, &roots, version.as_ref(), findings);
    let proxy = kinds.proxy.map(|index| (index, roots[index]));
    let wanted = RawSettings::from_options(&raw.proxy);
    let mode = check_settings(name, proxy.map(|(_, root)| root), &wanted, version.as_ref(), findings);
    if let (Some(index), Some(mode)) = (kinds.proxy, &mode) {
        let minor = version.as_ref().map_or(34, KubernetesVersion::minor);
        check_other_fields(name, &documents[index], &wanted, (mode, minor), findings);
    }
    if !findings.problems.is_empty() {
        return None;
    }
    write(name, text, proxy.map(|(index, _)| index), &wanted, &mode?, findings)
}

/// Whether `kubeadm init` could use this file: whether it has a `ClusterConfiguration` or an `InitConfiguration`, of any
/// version. A file for `kubeadm join` has none. `None` if it is not YAML, which is then in `findings`.
pub fn is_for_init(name: &str, text: &str, findings: &mut Findings) -> Option<bool> {
    let documents = findings.accept(name, check_line_ends(text).and_then(|()| parse(text)))?;
    Some(documents.iter().any(|document| kinds::is_for_init(&document.root)))
}

fn refuse_other_options(name: &str, raw: &RawOptions, findings: &mut Findings) {
    for option in raw.given() {
        if !matches!(option.scope, Scope::Version | Scope::Proxy) {
            let field = option.field;
            findings
                .problem(option.flag, format!("--from changes only the KubeProxyConfiguration; set {field} in {name}"));
        }
    }
}

fn version(
    name: &str,
    kinds: &Kinds,
    roots: &[&Node],
    raw: &RawOptions,
    findings: &mut Findings,
) -> Option<KubernetesVersion> {
    let node = kinds.cluster.and_then(|index| roots[index].get(&["kubernetesVersion"]));
    let Some((node, text)) = node.and_then(|node| Some((node, node.text()?))).filter(|(_, text)| !text.is_empty())
    else {
        return version_source::choose(raw.kubernetes_version.as_deref(), findings);
    };
    let place = place(name, node, "kubernetesVersion");
    let Some(given) = &raw.kubernetes_version else {
        let version: KubernetesVersion = findings.accept(&place, text.parse())?;
        if version.for_kubeadm() != text {
            findings.problem(&place, format!("kubeadm does not accept {text:?}; use {}", version.for_kubeadm()));
        }
        version_source::remark(&version, findings);
        findings.note("version-chosen", format!("Kubernetes {version}, from {name}"));
        return Some(version);
    };
    let version = version_source::choose(Some(given), findings)?;
    if let Ok(in_file) = text.parse::<KubernetesVersion>()
        && in_file.for_kubeadm() != text
    {
        findings.problem(&place, format!("kubeadm does not accept {text:?}; use {}", in_file.for_kubeadm()));
    }
    // A label without a minor version (kubeadm's own default is stable-1) cannot conflict.
    if let Ok(in_file) = text.parse::<KubernetesVersion>()
        && in_file.minor() != version.minor()
    {
        findings.problem(
            "--kubernetes-version",
            format!("is {version}, but {place} is {in_file}; their minor versions must be equal"),
        );
    }
    Some(version)
}

/// Checks the resulting `KubeProxyConfiguration`: the options, and the file's fields without an option.
fn check_settings(
    name: &str,
    proxy: Option<&Node>,
    wanted: &RawSettings,
    version: Option<&KubernetesVersion>,
    findings: &mut Findings,
) -> Option<Mode> {
    if let Some(root) = proxy {
        check_types(name, root, findings);
    }
    let file_mode = proxy.and_then(|root| given(name, root, &["mode"]));
    let valid_mode = file_mode.as_ref().and_then(|mode| findings.accept(&mode.place, mode.text.parse::<ProxyMode>()));
    let minor = version.map_or(34, KubernetesVersion::minor);
    let asked = wanted.mode.as_ref().map_or("ipvs", |mode| mode.text.as_str());
    let mut settings = wanted.clone();
    if let Some(root) = proxy {
        let from_file = |option: &mut Option<Given>, path: &[&str]| {
            *option = option.take().or_else(|| given(name, root, path));
        };
        if asked.parse::<ProxyMode>().is_ok_and(|mode| mode.traits().has_ipvs_settings) {
            from_file(&mut settings.scheduler, &["ipvs", "scheduler"]);
            from_file(&mut settings.tcp_timeout, &["ipvs", "tcpTimeout"]);
            from_file(&mut settings.tcp_fin_timeout, &["ipvs", "tcpFinTimeout"]);
            from_file(&mut settings.udp_timeout, &["ipvs", "udpTimeout"]);
            if settings.exclude_cidrs.is_empty() {
                let items = root.get(&["ipvs", "excludeCIDRs"]).map(Node::items).unwrap_or_default();
                settings.exclude_cidrs = items
                    .iter()
                    .filter_map(|item| {
                        let place = place(name, item, "ipvs.excludeCIDRs");
                        let text = item.text()?;
                        // kube-proxy reads an address with a prefix as the range that it is in (net.ParseCIDR).
                        if let Ok((range, address)) = Cidr::around(text)
                            && range.to_string() != format!("{address}/{}", range.prefix())
                        {
                            findings.warn(
                                "exclude-cidrs",
                                format!("{place}: {text} has host bits set; kube-proxy reads it as {range}"),
                            );
                            return None;
                        }
                        Some(Given { place, text: text.to_owned() })
                    })
                    .collect();
            }
        }
        from_file(&mut settings.sync_period, &[asked, "syncPeriod"]);
        from_file(&mut settings.min_sync_period, &[asked, "minSyncPeriod"]);
    }
    let mode = settings.check(minor, findings)?;
    wanted.refuse_ipvs_only(&mode, findings);
    if let Some(old) = file_mode.filter(|_| valid_mode.is_some_and(|valid| valid != mode.mode)) {
        let why = if wanted.mode.is_some() { "--mode" } else { "the default of --mode" };
        findings.warn("value-changed", format!("{}: changed from {} to {} ({why})", old.place, old.text, mode.mode));
    }
    if let Some(root) = proxy {
        warn_of_replaced(name, root, wanted, findings);
    }
    if let (Some(root), Some(gate)) = (proxy, mode.gate)
        && let Some(node) = root.get(&["featureGates", gate])
        && !matches!(&node.kind, Kind::Scalar(text, ScalarStyle::Plain) if text == "true")
    {
        findings
            .warn("value-changed", format!("{}: changed to true", place(name, node, &format!("featureGates.{gate}"))));
    }
    Some(mode)
}

/// Fields with which kube-proxy exits, among those that are not edited and were not reported before.
fn check_other_fields(
    name: &str,
    document: &Document,
    wanted: &RawSettings,
    (mode, minor): (&Mode, u32),
    findings: &mut Findings,
) {
    let Ok(json) = document.resolve() else { return };
    let written: Vec<String> = wanted.to_write(mode).iter().map(|(path, _)| path.join(".")).collect();
    for problem in refused(&json, minor, mode.mode) {
        let field = problem.field.as_str();
        let is_known = |place: &str| {
            let known = place.rsplit(": ").next().unwrap_or_default();
            known.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if written.iter().any(|path| path == field) || findings.problems.iter().any(|known| is_known(&known.place)) {
            continue;
        }
        let node = document.root.get(&field.split('.').collect::<Vec<_>>()).unwrap_or(&document.root);
        findings.problem(place(name, node, field), problem.message);
    }
}

/// Warns of dropped items: a list is replaced as a whole.
fn warn_of_replaced(name: &str, root: &Node, wanted: &RawSettings, findings: &mut Findings) {
    let gone = |path: &[&str], wanted: &[Given]| {
        let node = root.get(path).filter(|_| !wanted.is_empty())?;
        let stays = |text: &&str| wanted.iter().any(|given| given.text == *text);
        let gone: Vec<&str> = node.items().iter().filter_map(Node::text).filter(|text| !stays(text)).collect();
        (!gone.is_empty()).then(|| (place(name, node, &path.join(".")), foreign(&gone.join(","))))
    };
    if let Some((place, gone)) = gone(&["ipvs", "excludeCIDRs"], &wanted.exclude_cidrs) {
        let how = "the list is replaced and";
        findings
            .warn("exclude-cidrs", format!("{place}: {how} {gone} dropped; to keep them, add --exclude-cidrs {gone}"));
    }
    if let Some((place, gone)) = gone(&["nodePortAddresses"], &wanted.node_port_addresses) {
        findings.warn("value-changed", format!("{place}: the list is replaced and {gone} dropped"));
    }
}

/// Reports fields with a type that kube-proxy cannot read, even if an option replaces them.
fn check_types(name: &str, root: &Node, findings: &mut Findings) {
    let texts = ["scheduler", "tcpTimeout", "tcpFinTimeout", "udpTimeout", "syncPeriod", "minSyncPeriod"];
    let ipvs = texts.map(|field| ["ipvs", field]);
    for path in [["mode"].as_slice()].into_iter().chain(ipvs.iter().map(<[&str; 2]>::as_slice)) {
        if let Some(node) = root.get(path).filter(|node| !matches!(node.kind, Kind::Scalar(..) | Kind::Alias(_))) {
            findings.problem(place(name, node, &path.join(".")), "must be a string");
        }
    }
    if let Some(node) = root.get(&["ipvs", "excludeCIDRs"])
        && !node.is_null()
        && !matches!(node.kind, Kind::Seq { .. } | Kind::Alias(_))
    {
        findings.problem(place(name, node, "ipvs.excludeCIDRs"), "must be a list");
    }
    if let Some(node) = root.get(&["ipvs", "strictARP"])
        && !node.is_null()
        && !matches!(&node.kind, Kind::Scalar(_, ScalarStyle::Plain) | Kind::Alias(_))
    {
        findings.problem(place(name, node, "ipvs.strictARP"), "must be true or false, without quotes");
    }
}

/// A non-empty string in the file.
fn given(name: &str, root: &Node, path: &[&str]) -> Option<Given> {
    let node = root.get(path).filter(|node| !node.is_null())?;
    let text = node.text().filter(|text| !text.is_empty())?;
    Some(Given { place: place(name, node, &path.join(".")), text: text.to_owned() })
}

fn write(
    name: &str,
    text: &str,
    proxy: Option<usize>,
    wanted: &RawSettings,
    mode: &Mode,
    findings: &mut Findings,
) -> Option<String> {
    let Some(index) = proxy else {
        findings.note("document-added", format!("{name} has no KubeProxyConfiguration; one is added at the end"));
        return findings.accept(name, append_document(text, &proxy_configuration(wanted, mode)));
    };
    wanted
        .to_write(mode)
        .iter()
        .try_fold(text.to_owned(), |text, (path, value)| findings.accept(name, set(&text, index, path, value)))
}
