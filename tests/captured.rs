//! What real kube-proxies of each version print, answer and write: every folder of `tests/captured` is a version, with a folder
//! for each mode. See tests/captured/README.md for how they were made.

#[path = "support/iptables_model.rs"]
mod iptables_model;

use std::fs;
use std::path::{Path, PathBuf};

use iptables_model::apply;
use k8s_openapi::api::core::v1::ConfigMap;
use kpx_prep::cluster::api::objects::DaemonSet;
use kpx_prep::cluster::kube_proxy::config_map;
use kpx_prep::cluster::kube_proxy::daemon_set::{ConfigSource, find};
use kpx_prep::cluster::kube_proxy::log_lines::{LoggedMode, logged_mode};
use kpx_prep::mode::ProxyMode;
use kpx_prep::node::kube_proxy::rules::iptables_save::Save;
use kpx_prep::node::kube_proxy::rules::leftovers::Leftovers;
use kpx_prep::node::kube_proxy::rules::observe::{Observed, Place, of_nftables_mode};
use kpx_prep::node::kube_proxy::rules::owners::{Owner, owner};
use kpx_prep::node::kube_proxy::rules::sets::Sets;
use kpx_prep::proxy_config;
use kpx_prep::sync_health::{SyncState, full_sync_seconds, healthy, sync_health};

/// Versions that must be there, so that a missing folder is noticed.
const VERSIONS: [&str; 4] = ["v1.31.14", "v1.33.12", "v1.34.9", "v1.35.5"];

/// Each capture: its folder, and the mode that ran.
fn captures() -> Vec<(PathBuf, ProxyMode)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captured");
    let of = |version: &str| ProxyMode::ALL.map(|mode| (folder.join(version).join(mode.name()), mode));
    VERSIONS.iter().flat_map(|version| of(version)).collect()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()))
}

fn json<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> T {
    serde_json::from_str(&read(folder, name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()))
}

#[test]
fn the_log_tells_the_mode() {
    for (folder, mode) in captures() {
        let log = read(&folder, "log");
        let started = log.split(' ').next().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(logged_mode(&log, Some(started)), LoggedMode::Mode(mode), "{}", folder.display());
    }
}

#[test]
fn metrics_and_health_tell_that_it_syncs() {
    for (folder, _) in captures() {
        let metrics = read(&folder, "metrics");
        let status =
            |name| read(&folder, name).split(' ').nth(1).and_then(|status| status.parse().ok()).and_then(healthy);
        let at = folder.display();
        let now = sync_health(&metrics, None);
        assert_eq!((now.state, now.failures), (SyncState::Synced, 0), "{at}");
        assert_eq!((status("healthz"), status("livez")), (Some(true), Some(true)), "{at}");
        assert!(full_sync_seconds(&metrics).is_some_and(|seconds| seconds > 0.0), "{at}");
        // The same kube-proxy before its first sync.
        let last = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
        let before: String = metrics
            .lines()
            .map(|line| match line.rsplit_once(' ') {
                Some((name, _)) if line.starts_with(last) => format!("{name} 0\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert_eq!(sync_health(&before, None).state, SyncState::Never, "{at}");
    }
}

#[test]
fn its_objects_are_found_and_read() {
    for (folder, mode) in captures() {
        let at = folder.display();
        let set: DaemonSet = json(&folder, "daemonset.json");
        let found = find(&[set], None, None).unwrap().kube_proxy.unwrap();
        let ConfigSource::ConfigMap { name, key } = &found.config else { panic!("{at}: {:?}", found.config) };
        let map: ConfigMap = json(&folder, "configmap.json");
        assert_eq!(map.metadata.name.as_ref(), Some(name), "{at}");
        let facts = config_map::read(&map, key).unwrap();
        let config = facts.parsed.unwrap();
        let version = folder.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let minor = version.split('.').nth(1).unwrap().parse().unwrap();
        assert_eq!(proxy_config::target(&config.mode, minor), Ok(mode), "{at}");
        assert_eq!((config.unknown.len(), config.refused(minor, mode).len()), (0, 0), "{at}: {:?}", config.unknown);
    }
}

fn observed(folder: &Path) -> Observed {
    let tables = read(folder, "nft")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("table ")?.trim_end_matches(" {").to_owned()))
        .collect();
    let save = |family, name| {
        let place = Place::ALL.into_iter().find(|place| (place.family, place.variant) == (family, "legacy")).unwrap();
        (place, Save::parse(&read(folder, name)))
    };
    Observed {
        sets: Sets::parse(&read(folder, "ipset")),
        nft_tables: of_nftables_mode(tables),
        saves: vec![save("ipv4", "iptables-save"), save("ipv6", "ip6tables-save")],
        ..Observed::default()
    }
}

#[test]
fn its_rules_are_left_over_in_every_other_mode_only() {
    for (folder, mode) in captures() {
        let (observed, at) = (observed(&folder), folder.display());
        assert_eq!(Leftovers::new(&observed, mode, None).list(), [], "{at}");
        for running in ProxyMode::ALL.into_iter().filter(|running| *running != mode) {
            let left = Leftovers::new(&observed, running, None);
            assert!(!left.list().is_empty(), "{at}, {running} running");
            assert!(
                left.list().iter().all(|left| left.of == mode.name() || left.of == "shared"),
                "{at}: {:?}",
                left.list()
            );
            let mut after = observed.clone();
            for (place, text) in left.transactions() {
                let (_, save) = after.saves.iter_mut().find(|(other, _)| *other == place).unwrap();
                *save =
                    apply(save, &text).unwrap_or_else(|error| panic!("{at}, {running} running: {error} in\n{text}"));
            }
            // Between iptables and ipvs mode, chains that a shared one leads to stay until the running mode has written that.
            let again = Leftovers::new(&after, running, None);
            assert!(again.iptables.is_empty(), "{at}, {running} running: {:?}", again.list());
            let tables = || after.saves.iter().flat_map(|(_, save)| &save.tables);
            let chains = tables().flat_map(|table| table.chains.iter().map(|chain| (&table.name, &chain.name)));
            let not_of_running = |table: &str, chain: &str| matches!(owner(table, chain), Owner::KubeProxy(modes) if !modes.contains(&running.name()));
            let kept: Vec<_> = chains.filter(|(table, chain)| not_of_running(table, chain)).collect();
            assert!(running != ProxyMode::Nftables || kept.is_empty(), "{at}, {running} running: {kept:?}");
        }
    }
}
