//! kpx-prep's reading of a configuration beside that of the real kube-proxy, which tells what it read by `--write-config-to`.

use std::fs;
use std::path::Path;
use std::process::Command;

use kpx_prep::mode::ProxyMode;
use kpx_prep::proxy_config::{read, target};
use libtest_mimic::Trial;
use serde_yaml::Value;

use crate::cluster::control_plane::binaries;
use crate::cluster::processes::output;
use crate::cluster::world::{World, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("real_kube_proxy::reads_a_configuration_as_kpx_prep_does", reads)]
}

/// Debian's 1.20 refuses it, because it is built by a newer Go than Kubernetes' own of that time.
const LEADING_ZEROS: &str = "127.000.0.1";

/// Fields with values, many of them wrong. `featureGates` with unknown names is another matter.
const FIELDS: [(&str, &[&str]); 36] = [
    (
        "metricsBindAddress",
        &[
            "0.0.0.0",
            "'::'",
            "'[::1]'",
            "localhost",
            "localhost:10249",
            "':10249'",
            "127.0.0.1:0",
            "127.0.0.1:http",
            "'127.0.0.1:'",
            "''",
            LEADING_ZEROS,
            "127.0.0.1:010249",
            "null",
            "10249",
            "'[::]:9000'",
            "'fe80::1%eth0'",
            "127.0.0.1:70000",
            "127.0.0.1:+8080",
            "true",
            "[a]",
        ],
    ),
    ("healthzBindAddress", &["0.0.0.0", "'0'", "nohost", "'[::]:1'", "1.2.3.4:5"]),
    ("bindAddress", &["'::'", "host", "''", "10.0.0.1:80", "fd00::1", "5"]),
    ("mode", &["ipvs", "iptables", "yes", "null", "''", "1", "IPVS", "'ipvs'", "[ipvs]", "ipvs # text"]),
    (
        "ipvs.strictARP",
        &[
            "True",
            "TRUE",
            "yes",
            "Yes",
            "On",
            "y",
            "n",
            "no",
            "off",
            "'true'",
            "1",
            "null",
            "",
            "!!bool true",
            "tRUE",
            "!!str true",
        ],
    ),
    ("ipvs.scheduler", &["rr", "''", "bogus", "mh", "1", "null", "yes"]),
    ("ipvs.excludeCIDRs", &["[10.0.0.0/8]", "10.0.0.0/8", "[]", "null", "[10.0.0.1/8]", "[1]", "[x]", "[null]"]),
    ("ipvs.syncPeriod", &["30s", "30", "''", "-1s", "1h30m", "1.5s", "30S", "'30 s'", "1d", "null", "0s"]),
    ("ipvs.minSyncPeriod", &["30s", "31s", "-1s", "0s"]),
    ("ipvs.tcpTimeout", &["0s", "15m", "-1s", "900", "5"]),
    ("ipvs.tcpFinTimeout", &["0s", "-1s", "true"]),
    ("ipvs.udpTimeout", &["0s", "-5m", "5m"]),
    (
        "iptables.masqueradeBit",
        &["14", "014", "0x0e", "1_4", "14.0", "14.5", "'14'", "-1", "32", "true", "null", "1e1"],
    ),
    ("iptables.masqueradeAll", &["true", "'true'", "on", "0"]),
    ("iptables.syncPeriod", &["500ms", "2s", "0s", "-1s", "null"]),
    ("iptables.minSyncPeriod", &["40s", "10s", "-1s"]),
    ("clientConnection.qps", &["5", "'5'", "1.5", "true"]),
    ("clientConnection.burst", &["-1", "10", "4294967296"]),
    ("clientConnection.contentType", &["''", "5", "a/b"]),
    ("clientConnection", &["foo", "{}", "null", "[]"]),
    ("clusterCIDR", &["10.0.0.0/8", "10.0.0.1", "''", "null", "10", "'a,b,c'", "10.0.0.1/8"]),
    ("configSyncPeriod", &["15m", "-1s", "0s", "15"]),
    ("conntrack.maxPerCore", &["0", "-1", "null", "'1'"]),
    ("conntrack.min", &["-1", "131072"]),
    ("conntrack.tcpEstablishedTimeout", &["null", "-1s", "24h", "86400"]),
    ("conntrack.tcpCloseWaitTimeout", &["null", "-1s", "1h"]),
    ("enableProfiling", &["true", "'no'", "no"]),
    (
        "featureGates",
        &[
            "{IPv6DualStack: yes}",
            "{IPv6DualStack: 'true'}",
            "[]",
            "null",
            "{IPv6DualStack: null}",
            "{IPv6DualStack: 1}",
        ],
    ),
    ("hostnameOverride", &["5", "node", "null"]),
    ("nodePortAddresses", &["[10.0.0.0/8]", "10.0.0.0/8", "[primary]", "[1]", "''", "null"]),
    ("oomScoreAdj", &["-999", "-1001", "'-999'", "null"]),
    ("udpIdleTimeout", &["250ms", "null", "1"]),
    ("winkernel.enableDSR", &["x", "true"]),
    // Later versions know these; 1.20 ignores them, whatever they are.
    ("nftables.masqueradeBit", &["99"]),
    ("detectLocal", &["[]"]),
    ("strictArp", &["true"]),
];

/// Texts as a whole, behind apiVersion and kind.
const TEXTS: [&str; 22] = [
    "mode: ipvs\nmode: iptables\n",
    "mode: ipvs\n---\nkind: Foo\n",
    "mode: ipvs\n---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n",
    "x: &a {strictARP: true}\nipvs: *a\n",
    "x: &a {strictARP: true}\nipvs:\n  <<: *a\n  scheduler: rr\n",
    "ipvs: &a {strictARP: true}\nz: *a\n",
    "ipvs: []\n",
    "ipvs: {strictARP: yes, scheduler: lc}\n",
    "\"mode\": \"ipvs\"\n",
    "mode: >-\n  ipvs\n",
    "metricsBindAddress: |-\n  0.0.0.0:1\n",
    "ipvs:\n  strictarp: true\n",
    "ipvs:\n\tstrictARP: true\n",
    "mode: ipvs\r\nipvs:\r\n  strictARP: on\r\n",
    "? mode\n: ipvs\n",
    "mode: !!str ipvs\n",
    "mode: !custom ipvs\n",
    "mode: &m ipvs\nhostnameOverride: *m\n",
    "ipvs: {strictARP: true, strictARP: false}\n",
    "iptables: {masqueradeBit: 0b1110}\n",
    "1: 2\ntrue: x\nmode: ipvs\n",
    "mode: ipvs\n...\nmode: iptables\n",
];

async fn reads(world: &World) {
    let program = binaries().join("kube-proxy");
    let version = output(Command::new(&program).arg("--version"));
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).expect("Kubernetes v1.20.2");
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    let of_field = |(field, values): &(&str, &[&str])| -> Vec<String> {
        // The section of ipvs is validated in ipvs mode only.
        let ipvs = if field.starts_with("ipvs") { "mode: ipvs\n" } else { "" };
        let line = |value: &&str| match field.split_once('.') {
            Some((section, field)) => format!("{ipvs}{section}:\n  {field}: {value}\n"),
            None => format!("{ipvs}{field}: {value}\n"),
        };
        let certain = values.iter().filter(|value| minor >= 22 || **value != LEADING_ZEROS);
        certain.map(line).collect()
    };
    let bodies = FIELDS.iter().flat_map(of_field).chain(TEXTS.map(str::to_owned));
    let mut texts: Vec<_> = bodies.map(|body| format!("{head}{body}")).collect();
    texts.push("kind: KubeProxyConfiguration\n".to_owned());
    texts.push(format!("---\nkind: Foo\napiVersion: v1\n---\n{head}"));
    texts.push(format!("---\n{head}mode: ipvs\n"));
    texts.push(head.replace("v1alpha1", "v1beta1"));
    texts.push(format!("\u{feff}{head}mode: ipvs\n"));
    texts.push(format!("# a comment\n---\n{head}mode: ipvs\n"));
    texts.push(format!("%YAML 1.1\n---\n{head}mode: ipvs\n"));
    texts.push(format!("---\n# nothing\n---\n{head}mode: ipvs\n"));
    texts.push(
        r#"{"kind":"KubeProxyConfiguration","apiVersion":"kubeproxy.config.k8s.io/v1alpha1","mode":"ipvs"}"#.to_owned(),
    );
    texts.push(String::new());
    let (mut differ, mut taken) = (Vec::new(), 0);
    for text in &texts {
        let (said, real) = (kpx_prep(text, minor), kube_proxy(&program, &world.folder, text));
        taken += usize::from(real.is_some());
        if said != real {
            differ.push(format!("{text:?}:\n  kpx-prep {said:?}\n  kube-proxy {real:?}"));
        }
    }
    // Both kinds are there.
    assert!(taken > 60 && texts.len() - taken > 60, "{taken} of {} are taken", texts.len());
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), texts.len(), differ.join("\n"));
}

/// What is read of it: mode, metrics port, strictARP and scheduler; nothing if kube-proxy exits with it.
type Read = Option<(String, u16, bool, String)>;

fn kpx_prep(text: &str, minor: u32) -> Read {
    let config = read(text).ok()?;
    let mode = target(&config.mode, minor).ok()?;
    if !config.refused(minor, mode).is_empty() || minor < 29 && mode == ProxyMode::Nftables {
        return None;
    }
    Some((
        or_default(&config.mode),
        config.ports.metrics,
        config.strict_arp,
        config.written_scheduler.unwrap_or_default(),
    ))
}

/// Later versions write down the mode that an empty one means.
fn or_default(mode: &str) -> String {
    if mode.is_empty() { "iptables".to_owned() } else { mode.to_owned() }
}

fn kube_proxy(program: &Path, folder: &Path, text: &str) -> Read {
    let (given, written) = (folder.join("given.yaml"), folder.join("written.yaml"));
    fs::write(&given, text).expect("written");
    let _ = fs::remove_file(&written);
    let mut command = Command::new(program);
    command.arg("--config").arg(&given).arg("--write-config-to").arg(&written);
    if !command.output().expect("it runs").status.success() {
        return None;
    }
    let read: Value = serde_yaml::from_str(&fs::read_to_string(&written).expect("it wrote it")).expect("YAML");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let port = text(&read["metricsBindAddress"]).rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let strict = read["ipvs"]["strictARP"].as_bool().expect("a boolean");
    Some((or_default(&text(&read["mode"])), port.expect("a port"), strict, text(&read["ipvs"]["scheduler"])))
}
