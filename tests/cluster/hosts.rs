//! The hosts of stand-in nodes: what kpx-prep in a helper pod would find and do there. What it really does on a host,
//! `tests/vm` proves; here it is about what a run at the cluster makes of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::misbehaviour::Misbehaviour;
use super::stand_in::locked;

/// One host.
#[derive(Debug, Default)]
struct Host {
    /// Whether the modules are loaded.
    prepared: bool,
    /// The mode for which it was prepared last.
    prepared_for: Option<String>,
    /// Modes that ran since the last cleaning.
    ran: BTreeSet<String>,
    /// ipvs was cleaned but for its virtual servers.
    servers_left: bool,
    /// A copy of the rules serves when kube-proxy's own are gone.
    bridge: bool,
    /// How often kube-proxy removed the rules at its start, with nothing else to serve.
    gaps: usize,
    /// How often kube-proxy emptied IPVS at its start, with connections that were not drained.
    cuts: usize,
    /// Every command it was asked to run, in this order.
    commands: Vec<String>,
}

/// All of them, by node.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: Mutex<BTreeMap<String, Host>>,
    /// How many commands run now, and how many did at most.
    running: Mutex<(usize, usize)>,
}

/// What a command printed, and its exit status.
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) exit: i32,
}

impl Hosts {
    /// A kube-proxy started in this mode.
    pub(crate) fn started(&self, node: &str, mode: &str) {
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(node.to_owned()).or_default();
        let removes = host.ran.iter().any(|ran| (ran == "nftables") != (mode == "nftables"));
        host.gaps += usize::from(removes && !host.bridge);
        host.cuts += usize::from(mode == "nftables" && (host.servers_left || host.ran.contains("ipvs")));
        host.ran.insert(mode.to_owned());
    }

    /// How often Services of a node were not served.
    pub(crate) fn gaps(&self, node: &str) -> usize {
        locked(&self.hosts).get(node).map_or(0, |host| host.gaps)
    }

    /// How often connections through IPVS of a node ended at once.
    pub(crate) fn cuts(&self, node: &str) -> usize {
        locked(&self.hosts).get(node).map_or(0, |host| host.cuts)
    }

    /// What was asked of a node, the names of the commands only.
    pub(crate) fn commands(&self, node: &str) -> Vec<String> {
        locked(&self.hosts).get(node).map(|host| host.commands.clone()).unwrap_or_default()
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget_commands(&self) {
        locked(&self.hosts).values_mut().for_each(|host| host.commands.clear());
    }

    /// What other modes left on a node.
    pub(crate) fn leftovers(&self, node: &str, running: &str) -> usize {
        locked(&self.hosts).get(node).map_or(0, |host| host.leftovers(Some(running)).len())
    }

    /// Whether a node's modules are loaded.
    pub(crate) fn is_prepared(&self, node: &str) -> bool {
        locked(&self.hosts).get(node).is_some_and(|host| host.prepared)
    }

    /// The mode for which a node was prepared last.
    pub(crate) fn prepared_for(&self, node: &str) -> Option<String> {
        locked(&self.hosts).get(node).and_then(|host| host.prepared_for.clone())
    }

    /// The most commands that ran at once.
    pub(crate) fn most_at_once(&self) -> usize {
        locked(&self.running).1
    }

    /// New hosts.
    pub(crate) fn clear(&self) {
        locked(&self.hosts).clear();
        *locked(&self.running) = (0, 0);
    }

    /// A command begins.
    pub(crate) fn begin(&self) {
        let mut running = locked(&self.running);
        running.0 += 1;
        running.1 = running.1.max(running.0);
    }

    /// A command has ended.
    pub(crate) fn end(&self) {
        locked(&self.running).0 -= 1;
    }

    /// Runs `kpx-prep node …`; `input` is the line on its standard input.
    pub(crate) fn run(
        &self,
        node: &str,
        command: &[String],
        input: Option<&str>,
        mode: Option<&str>,
        wrong: &[Misbehaviour],
    ) -> Printed {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let (words, in_proxys_image) = match words[..] {
            ["/kpx-prep", "node", ref rest @ ..] => (rest, false),
            ["/kpx-prep-node/kpx-prep-node", ref rest @ ..] => (rest, true),
            _ => return Printed { stdout: String::new(), exit: 126 },
        };
        let ["--heartbeat", _, "--lease", _, name, ref options @ ..] = words[..] else { panic!("{words:?}") };
        assert!(options.ends_with(&["--root", "/host", "-o", "json"]), "{words:?}");
        // Where the container has kube-proxy's own programs, these are used.
        let own_tools = options.windows(2).any(|pair| pair == ["--tools", "/"]);
        let for_nftables = options.windows(2).any(|pair| pair == ["--mode", "nftables"]);
        assert_eq!(own_tools, in_proxys_image && (name != "install" || for_nftables), "{words:?}");
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(node.to_owned()).or_default();
        host.commands.push(name.to_owned());
        if name == "install" {
            host.prepared_for = Some(if for_nftables { "nftables" } else { "ipvs" }.to_owned());
        }
        // What a node must have depends on kube-proxy's version.
        let version = options.windows(2).find(|pair| pair[0] == "--kubernetes-version").map(|pair| pair[1]);
        assert_eq!(
            version.is_some_and(|version| version.starts_with("1.")),
            !matches!(name, "clean" | "bridge"),
            "{words:?}"
        );
        let (answer, exit) = match name {
            "survey" => (host.survey(mode, options, wrong), 0),
            "install" => host.install(wrong),
            "bridge" => host.bridge(mode, options, wrong),
            "clean" => host.clean(mode, options, input, wrong),
            _ => panic!("{words:?}"),
        };
        Printed { stdout: answer.to_string(), exit }
    }
}

impl Host {
    fn leftovers(&self, running: Option<&str>) -> Vec<Value> {
        let others = self.ran.iter().filter(|mode| Some(mode.as_str()) != running);
        let chain = |mode: &String| json!({"of": mode, "kind": "chain", "place": "ipv4 filter (legacy)", "name": format!("KUBE-{mode}")});
        let server = json!({"of": "ipvs", "kind": "virtual-server", "place": "", "name": "TCP 10.96.0.1:443"});
        let bridge = json!({"of": "kpx-prep", "kind": "chain", "place": "ipv4 nat (legacy)", "name": "KPX-SERVICES"});
        let bridge = self.bridge.then_some(bridge);
        others.map(chain).chain(self.servers_left.then_some(server)).chain(bridge).collect()
    }

    fn modules(&self, wrong: &[Misbehaviour]) -> Value {
        if wrong.contains(&Misbehaviour::CannotBePrepared) {
            let note = json!({
                "level": "error", "id": "module-missing", "message": "ip_vs: not in the kernel's modules",
                "hint": "install linux-modules-extra-5.10.0",
            });
            return json!({"outcome": "not-prepared", "summary": "not prepared: 1 problem", "findings": [note]});
        }
        let outcome = if self.prepared { "already-prepared" } else { "would-prepare" };
        json!({"outcome": outcome, "summary": outcome, "findings": []})
    }

    fn survey(&self, mode: Option<&str>, options: &[&str], wrong: &[Misbehaviour]) -> Value {
        let foreign = json!({
            "protocol": "TCP", "address": "192.0.2.7", "port": 80, "scheduler": "wlc", "claimed": false, "connections": 2,
        });
        let servers: Vec<_> = wrong.contains(&Misbehaviour::ForeignServer).then_some(foreign).into_iter().collect();
        let asked: Vec<_> = options.windows(2).filter(|pair| pair[0] == "--ask").map(|pair| pair[1]).collect();
        json!({
            "apiVersion": "kpx-prep/v1", "kind": "NodeSurvey", "version": env!("CARGO_PKG_VERSION"),
            "kernel": "6.1.0-18-amd64", "distro": "debian 12", "modules": self.modules(wrong), "running": mode,
            "virtualServers": servers, "leftovers": mode.map_or_else(Vec::new, |mode| self.leftovers(Some(mode))),
            "suspicious": [], "inputDrops": [], "localPorts": [32768, 60999], "connReuseMode": null,
            "iptables": "legacy", "bothIptables": false, "nft": null, "answering": asked,
            "translated": if wrong.contains(&Misbehaviour::NoOtherDataPlane) { Vec::new() } else { asked.clone() },
            "networkManagerInterferes": false,
        })
    }

    fn install(&mut self, wrong: &[Misbehaviour]) -> (Value, i32) {
        if wrong.contains(&Misbehaviour::InstallFails) {
            let note = json!({"level": "error", "id": "load-failed", "message": "ip_vs is not in /proc/modules after modprobe"});
            return (json!({"outcome": "failed", "summary": "failed", "findings": [note]}), 1);
        }
        self.prepared = true;
        (json!({"outcome": "prepared", "summary": "prepared; modules: 16 loaded", "findings": []}), 0)
    }

    fn bridge(&mut self, mode: Option<&str>, options: &[&str], wrong: &[Misbehaviour]) -> (Value, i32) {
        let to = options.windows(2).find(|pair| pair[0] == "--to").map(|pair| pair[1]).expect("--to");
        let (outcome, exit) = match mode {
            _ if wrong.contains(&Misbehaviour::CannotBridge) => ("failed", 1),
            Some(mode) if (mode == "nftables") == (to == "nftables") => ("nothing-to-copy", 0),
            Some("ipvs") => ("refused", 3),
            _ => ("put", 0),
        };
        self.bridge |= outcome == "put";
        let answer = json!({
            "apiVersion": "kpx-prep/v1", "kind": "BridgeReport", "outcome": outcome,
            "summary": format!("iptables-restore: the bridge is {outcome}"), "findings": [],
        });
        (answer, exit)
    }

    fn remove_all(&mut self, mode: Option<&str>, options: &[&str], wrong: &[Misbehaviour]) -> (Value, i32) {
        assert!(options.windows(2).any(|pair| pair[0] == "--api-service" && pair[1].ends_with(":443")), "{options:?}");
        let before = self.leftovers(None);
        let dry_run = options.contains(&"--dry-run");
        let has = |one: Misbehaviour| wrong.contains(&one);
        let fails = has(Misbehaviour::CannotBeCleaned);
        if mode.is_none() && !has(Misbehaviour::NoOtherDataPlane) && !dry_run && !fails {
            self.ran.clear();
            self.servers_left = false;
        }
        let (outcome, exit, id) = match mode {
            Some(_) => ("refused", 3, Some("kube-proxy-runs")),
            None if has(Misbehaviour::NoOtherDataPlane) => ("refused", 3, Some("no-data-plane")),
            None if has(Misbehaviour::LeansOnKubeProxy) && !dry_run => ("failed", 1, Some("no-data-plane")),
            None if before.is_empty() => ("nothing-to-clean", 0, None),
            None if dry_run => ("would-clean", 0, None),
            None if fails => ("failed", 1, Some("not-removed")),
            None => ("cleaned", 0, None),
        };
        let findings: Vec<Value> = id
            .map(|id| json!({"level": "error", "id": id, "message": format!("the host says {id}")}))
            .into_iter()
            .collect();
        let remaining = if dry_run { Vec::new() } else { self.leftovers(None) };
        let removed: Vec<_> = before.iter().filter(|left| !remaining.contains(left)).collect();
        let answer = json!({
            "apiVersion": "kpx-prep/v1", "kind": "CleanReport", "outcome": outcome, "summary": outcome, "running": null,
            "removed": removed, "remaining": remaining, "connectionsCut": 0, "suspicious": [], "findings": findings,
        });
        (answer, exit)
    }

    fn clean(
        &mut self,
        mode: Option<&str>,
        options: &[&str],
        input: Option<&str>,
        wrong: &[Misbehaviour],
    ) -> (Value, i32) {
        if options.contains(&"--no-kube-proxy") {
            return self.remove_all(mode, options, wrong);
        }
        let keeps = options.contains(&"--keep-virtual-servers");
        let drains = options.contains(&"--drain");
        assert!(keeps != drains || options.contains(&"--keep-leftovers"), "{options:?}");
        if options.contains(&"--services") {
            let services: Vec<Value> = serde_json::from_str(input.expect("a line")).expect("a list of Services");
            assert!(!services.is_empty(), "not even the API server's Service");
        }
        let before = self.leftovers(mode);
        let (outcome, exit) = if mode.is_none() {
            ("refused", 3)
        } else if wrong.contains(&Misbehaviour::StopsServing) && mode == Some("ipvs")
            || wrong.contains(&Misbehaviour::NotServingInNftables) && mode == Some("nftables")
        {
            ("not-serving", 3)
        } else if wrong.contains(&Misbehaviour::NeverSyncs) && mode == Some("ipvs") {
            ("not-synced", 4)
        } else if wrong.contains(&Misbehaviour::CannotBeCleaned) {
            ("failed", 1)
        } else if options.contains(&"--keep-leftovers") {
            self.bridge = false;
            ("would-clean", 0)
        } else {
            self.bridge = false;
            self.servers_left |= keeps && mode != Some("ipvs") && self.ran.contains("ipvs");
            self.servers_left &= !drains;
            self.ran.retain(|ran| Some(ran.as_str()) == mode);
            (if before.is_empty() { "nothing-to-clean" } else { "cleaned" }, 0)
        };
        let remaining = self.leftovers(mode);
        let removed: Vec<_> = before.iter().filter(|left| !remaining.contains(left) && exit == 0).collect();
        let answer = json!({
            "apiVersion": "kpx-prep/v1", "kind": "CleanReport", "outcome": outcome, "summary": outcome, "running": mode,
            "removed": removed, "remaining": remaining, "connectionsCut": 0, "suspicious": [], "findings": [],
        });
        (answer, exit)
    }
}
