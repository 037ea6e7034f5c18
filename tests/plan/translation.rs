//! What becomes of the settings when the mode changes: all six directions.

use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::cluster::plan::translation::{Becomes, Translation, translate};
use kpx_prep::cluster::report::plan_text::plan_text;
use kpx_prep::mode::ProxyMode::{self, Iptables, Ipvs, Nftables};
use kpx_prep::proxy_config::read;
use serde_json::{Value, json};

use crate::cluster_facts::{cluster, request, text};
use crate::{restore, set_config, surroundings};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// What becomes of these settings, where only the mode changes.
fn rows(settings: &str, from: ProxyMode, to: ProxyMode, minor: u32) -> Vec<Translation> {
    let config = read(&format!("{HEAD}{settings}\n")).unwrap();
    translate(&config, &config, (from, to), minor)
}

/// The only row, in short; nothing if there is none.
fn row(settings: &str, from: ProxyMode, to: ProxyMode) -> (Option<Becomes>, Value, bool) {
    let mut rows = rows(settings, from, to, 36);
    rows.retain(|row| row.setting != "nodePortAddresses" || settings.contains("nodePortAddresses"));
    rows.retain(|row| row.setting != "conntrack.tcpBeLiberal" || settings.contains("tcpBeLiberal"));
    assert!(rows.len() <= 1, "{rows:#?}");
    let Some(row) = rows.pop() else { return (None, Value::Null, false) };
    (Some(row.becomes), row.to.map_or(Value::Null, |to| json!({ to.setting: to.value })), row.matters)
}

#[test]
fn every_setting_in_every_direction() {
    use Becomes::*;
    let null = Value::Null;
    for (settings, from, to, becomes, counterpart, matters) in [
        // Of ipvs mode only.
        ("ipvs: {scheduler: lc}", Ipvs, Iptables, NoEffect, null.clone(), true),
        ("ipvs: {scheduler: lc}", Ipvs, Nftables, NoEffect, null.clone(), true),
        ("ipvs: {scheduler: lc}", Iptables, Ipvs, TakesEffect, null.clone(), true),
        ("ipvs: {scheduler: rr}", Ipvs, Nftables, NoEffect, null.clone(), false),
        ("ipvs: {scheduler: ''}", Ipvs, Nftables, NoEffect, null.clone(), false),
        ("ipvs: {strictARP: true}", Ipvs, Nftables, NoEffect, null.clone(), true),
        ("ipvs: {strictARP: false}", Ipvs, Nftables, NoEffect, null.clone(), false),
        ("ipvs: {strictARP: true}", Nftables, Ipvs, TakesEffect, null.clone(), true),
        ("ipvs: {excludeCIDRs: [192.0.2.0/24]}", Ipvs, Nftables, NoEffect, null.clone(), true),
        ("ipvs: {excludeCIDRs: null}", Ipvs, Nftables, NoEffect, null.clone(), false),
        ("ipvs: {excludeCIDRs: [192.0.2.0/24]}", Ipvs, Iptables, NoEffect, null.clone(), true),
        ("ipvs: {tcpTimeout: 2h}", Ipvs, Iptables, NoEffect, null.clone(), true),
        ("ipvs: {tcpTimeout: 0s}", Ipvs, Iptables, NoEffect, null.clone(), false),
        ("ipvs: {tcpFinTimeout: 2m}", Ipvs, Nftables, NoEffect, null.clone(), true),
        ("ipvs: {udpTimeout: 5m}", Ipvs, Nftables, NoEffect, null.clone(), true),
        ("ipvs: {udpTimeout: 5m}", Iptables, Ipvs, TakesEffect, null.clone(), true),
        // Each mode has its own periods.
        ("ipvs: {syncPeriod: 1m}", Ipvs, Iptables, MustBeSet, json!({"iptables.syncPeriod": "1m"}), true),
        ("ipvs: {syncPeriod: 1m}", Ipvs, Nftables, MustBeSet, json!({"nftables.syncPeriod": "1m"}), true),
        ("iptables: {syncPeriod: 1m}", Iptables, Ipvs, MustBeSet, json!({"ipvs.syncPeriod": "1m"}), true),
        ("nftables: {syncPeriod: 1m}", Nftables, Iptables, MustBeSet, json!({"iptables.syncPeriod": "1m"}), true),
        ("ipvs: {syncPeriod: 30s}", Ipvs, Nftables, Translated, json!({"nftables.syncPeriod": null}), false),
        ("ipvs: {syncPeriod: 0s}", Ipvs, Nftables, Translated, json!({"nftables.syncPeriod": null}), false),
        ("nftables: {syncPeriod: 1m}", Ipvs, Nftables, TakesEffect, null.clone(), true),
        ("nftables: {syncPeriod: 1m}", Ipvs, Iptables, Kept, null.clone(), false),
        ("ipvs: {minSyncPeriod: 5s}", Ipvs, Iptables, MustBeSet, json!({"iptables.minSyncPeriod": "5s"}), true),
        // The default is another one, but nobody asked for it.
        ("ipvs: {minSyncPeriod: 0s}", Ipvs, Iptables, Translated, json!({"iptables.minSyncPeriod": null}), false),
        ("ipvs: {minSyncPeriod: 1s}", Ipvs, Iptables, Translated, json!({"iptables.minSyncPeriod": null}), false),
        (
            "iptables: {minSyncPeriod: 10s}",
            Iptables,
            Nftables,
            MustBeSet,
            json!({"nftables.minSyncPeriod": "10s"}),
            true,
        ),
        // ipvs mode reads the section of iptables.
        ("iptables: {masqueradeAll: true}", Iptables, Ipvs, Kept, null.clone(), false),
        ("iptables: {masqueradeAll: true}", Ipvs, Iptables, Kept, null.clone(), false),
        ("iptables: {masqueradeAll: true}", Ipvs, Nftables, MustBeSet, json!({"nftables.masqueradeAll": true}), true),
        (
            "iptables: {masqueradeAll: true}",
            Iptables,
            Nftables,
            MustBeSet,
            json!({"nftables.masqueradeAll": true}),
            true,
        ),
        (
            "iptables: {masqueradeAll: false}",
            Ipvs,
            Nftables,
            Translated,
            json!({"nftables.masqueradeAll": null}),
            false,
        ),
        ("nftables: {masqueradeAll: true}", Nftables, Ipvs, MustBeSet, json!({"iptables.masqueradeAll": true}), true),
        ("nftables: {masqueradeAll: true}", Iptables, Nftables, TakesEffect, null.clone(), true),
        ("iptables: {masqueradeBit: 15}", Ipvs, Nftables, MustBeSet, json!({"nftables.masqueradeBit": 15}), true),
        ("iptables: {masqueradeBit: 14}", Ipvs, Nftables, Translated, json!({"nftables.masqueradeBit": null}), false),
        // Of iptables mode only.
        ("iptables: {localhostNodePorts: true}", Iptables, Nftables, NoEffect, null.clone(), true),
        ("iptables: {localhostNodePorts: true}", Iptables, Ipvs, NoEffect, null.clone(), true),
        ("iptables: {localhostNodePorts: false}", Iptables, Nftables, NoEffect, null.clone(), false),
        ("iptables: {localhostNodePorts: null}", Iptables, Nftables, NoEffect, null.clone(), false),
        // The default depends on the mode.
        ("nodePortAddresses: null", Iptables, Ipvs, Kept, null.clone(), false),
        ("nodePortAddresses: []", Ipvs, Nftables, MustBeSet, json!({"nodePortAddresses": ["0.0.0.0/0", "::/0"]}), true),
        (
            "nodePortAddresses: null",
            Iptables,
            Nftables,
            MustBeSet,
            json!({"nodePortAddresses": ["0.0.0.0/0", "::/0"]}),
            true,
        ),
        ("nodePortAddresses: null", Nftables, Ipvs, MustBeSet, json!({"nodePortAddresses": ["primary"]}), true),
        ("nodePortAddresses: null", Nftables, Iptables, MustBeSet, json!({"nodePortAddresses": ["primary"]}), true),
        ("nodePortAddresses: [10.0.0.0/8]", Ipvs, Nftables, Kept, null.clone(), false),
        ("nodePortAddresses: [primary]", Nftables, Iptables, Kept, null.clone(), false),
        // In every mode.
        ("clusterCIDR: 10.244.0.0/16", Ipvs, Nftables, Kept, null.clone(), false),
        ("detectLocalMode: BridgeInterface", Iptables, Ipvs, Kept, null.clone(), false),
        ("conntrack: {maxPerCore: 0}", Nftables, Iptables, Kept, null.clone(), false),
        ("conntrack: {tcpEstablishedTimeout: 1h}", Ipvs, Iptables, Kept, null.clone(), false),
        ("conntrack: {tcpBeLiberal: true}", Iptables, Nftables, Kept, null.clone(), false),
        ("conntrack: {tcpBeLiberal: false}", Iptables, Nftables, Kept, null.clone(), true),
        ("conntrack: {tcpBeLiberal: false}", Ipvs, Nftables, Kept, null.clone(), false),
    ] {
        let expected = match (settings, becomes) {
            // A setting that neither mode reads is no row.
            ("nftables: {syncPeriod: 1m}", Kept) => (None, null.clone(), false),
            _ => (Some(becomes), counterpart, matters),
        };
        assert_eq!(row(settings, from, to), expected, "{settings}, {from} to {to}");
    }
}

/// What kubeadm writes for a new cluster says nothing of settings that nobody chose, but for node ports.
#[test]
fn a_configuration_of_kubeadm_is_plain() {
    let before = include_str!("../cluster/config/kubeadm-1.36/before");
    let config = read(before).unwrap();
    for from in ProxyMode::ALL {
        for to in ProxyMode::ALL {
            let rows = translate(&config, &config, (from, to), 36);
            let expected: &[&str] = match (from, to) {
                (Iptables, Nftables) => &["nodePortAddresses", "conntrack.tcpBeLiberal"],
                (Ipvs, Nftables) | (Nftables, Iptables | Ipvs) => &["nodePortAddresses"],
                _ => &[],
            };
            let matter: Vec<_> = rows.iter().filter(|row| row.matters).map(|row| row.setting).collect();
            assert_eq!(matter, expected, "{from} to {to}: {rows:#?}");
            assert_eq!(rows.is_empty(), from == to);
        }
    }
}

#[test]
fn settings_that_a_version_does_not_have_are_not_named() {
    let settings = "conntrack: {tcpBeLiberal: false}\niptables: {localhostNodePorts: true}";
    let names = |minor| -> Vec<_> { rows(settings, Iptables, Ipvs, minor).iter().map(|row| row.setting).collect() };
    assert_eq!(names(25), [""; 0]);
    assert_eq!(names(26), ["iptables.localhostNodePorts"]);
    assert_eq!(names(29), ["iptables.localhostNodePorts", "conntrack.tcpBeLiberal"]);
    // nftables mode of 1.29 serves node ports on every address.
    let node_ports = |minor| rows("nodePortAddresses: null", Ipvs, Nftables, minor)[0].becomes;
    assert_eq!((node_ports(29), node_ports(30)), (Becomes::Kept, Becomes::MustBeSet));
    let gate = rows("featureGates: {KubeProxyIPVS: true}", Ipvs, Nftables, 40);
    assert_eq!((gate[0].setting, gate[0].becomes), ("featureGates.KubeProxyIPVS", Becomes::NoEffect));
    // From 1.37 on nftables mode has localhost node ports, behind a gate.
    let note = |minor| {
        let rows = rows("iptables: {localhostNodePorts: true}", Iptables, Nftables, minor);
        rows[0].note.clone().unwrap_or_default()
    };
    assert!(note(36).contains("does not serve 127.0.0.1"), "{}", note(36));
    assert!(note(37).contains("KubeProxyNFTablesLocalhostNodePorts"), "{}", note(37));
}

/// In a plan: what this run sets is said, a rollback translates nothing, and values of others are escaped.
#[test]
fn in_a_plan() {
    let mut facts = cluster("ipvs", Ipvs);
    let hostile = text("ipvs").replace("strictARP: false", "scheduler: \"lc\\e[2J\\n  9. rm\"\n  strictARP: true");
    set_config(&mut facts, &hostile);
    let planned = plan(&facts, &surroundings(), &request("nftables"));
    let shown = plan_text(Some(&facts), &planned);
    assert!(shown.contains("ipvs.strictARP: true -> no effect; "), "{shown}");
    assert!(shown.contains("nodePortAddresses: not set -> to keep it, set nodePortAddresses: "), "{shown}");
    let of_settings = shown.split("mean something else").nth(1).unwrap();
    assert!(!of_settings.contains('\x1b') && !of_settings.contains("\n  9. rm"), "{of_settings}");
    let json = serde_json::to_value(&planned).unwrap();
    let rows = json["translation"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["setting"] == name).unwrap_or_else(|| panic!("{name}: {json}"));
    assert_eq!(of("ipvs.scheduler")["becomes"], "no-effect");
    // What nftables mode of 1.30 needs is set by this run.
    assert_eq!(of("featureGates.NFTablesProxyMode")["to"]["value"], true);
    assert_eq!(of("featureGates.NFTablesProxyMode")["becomes"], "set");
    // The mode stays: nothing to translate.
    assert_eq!(plan(&facts, &surroundings(), &request("ipvs")).translation, []);
    let back: Request = restore();
    assert_eq!(plan(&facts, &surroundings(), &back).translation, []);
}
