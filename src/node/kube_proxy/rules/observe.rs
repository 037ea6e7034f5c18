//! The current state of everything on a host that kube-proxy may have created.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context as _;

use super::iptables_save::Save;
use super::ipvs_table::{self, Connection, Server};
use super::owners::{BRIDGE_TABLE, LINK, NFT_TABLE};
use super::sets::Sets;
use crate::node::kube_proxy::process::toolbox::{Tool, Toolbox};
use crate::node::netlink::{links, nftables};
use crate::node::root::Root;
use crate::report::{Finding, Level, finding};

const SERVERS: &str = "/proc/net/ip_vs";
const CONNECTIONS: &str = "/proc/net/ip_vs_conn";

/// A family and a variant of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// `legacy` or `nft`.
    pub variant: &'static str,
}

impl Place {
    /// All four, in the order in which they are read.
    pub const ALL: [Self; 4] = [
        Self { family: "ipv4", variant: "legacy" },
        Self { family: "ipv6", variant: "legacy" },
        Self { family: "ipv4", variant: "nft" },
        Self { family: "ipv6", variant: "nft" },
    ];

    fn command(self) -> &'static str {
        if self.family == "ipv6" { "ip6tables" } else { "iptables" }
    }

    /// Whether one of these nftables tables belongs to the nft variant of iptables.
    fn is_in(self, tables: &[String]) -> bool {
        let family = if self.family == "ipv6" { "ip6 " } else { "ip " };
        let names = ["filter", "nat", "mangle", "raw", "security"];
        tables.iter().filter_map(|table| table.strip_prefix(family)).any(|name| names.contains(&name))
    }

    /// `iptables-save` and `iptables-restore` of this family and variant, from the same folder.
    pub fn tools(self, toolbox: &Toolbox) -> Option<[Tool; 2]> {
        let command = self.command();
        let exact = |middle: &str| ["-save", "-restore"].map(|end| [command, middle, end].concat());
        let [save, restore] = exact(if self.variant == "nft" { "-nft" } else { "-legacy" });
        if let Some(tools) = toolbox.find_both([&save, &restore]).next() {
            return Some(tools);
        }
        // Before there were two variants, and in small images, the name does not show the variant.
        let [save, restore] = exact("");
        let is_it = |tools: &[Tool; 2]| {
            let version = tools[0].run(&["--version"], None).map(|said| said.stdout).unwrap_or_default();
            version.contains("nf_tables") == (self.variant == "nft")
        };
        toolbox.find_both([&save, &restore]).find(is_it)
    }
}

/// The observed state of a host.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The content of iptables.
    pub saves: Vec<(Place, Save)>,
    /// The ipsets.
    pub sets: Sets,
    /// nftables tables created by nftables mode, such as `ip kube-proxy`.
    pub nft_tables: Vec<String>,
    /// Tables of nftables that kpx-prep copied from these, such as `ip kpx-prep-bridge`.
    pub bridge_tables: Vec<String>,
    /// The virtual servers of IPVS.
    pub servers: Vec<Server>,
    /// The connections of IPVS.
    pub connections: Vec<Connection>,
    /// Whether `kube-ipvs0` exists.
    pub link: bool,
    /// Its addresses.
    pub link_addresses: BTreeSet<IpAddr>,
    /// All other addresses of the host.
    pub own_addresses: BTreeSet<IpAddr>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

impl Observed {
    /// Reads all of it.
    ///
    /// # Errors
    /// If a file below `/proc` exists and cannot be read, or the kernel does not answer.
    pub fn new(root: &Root, toolbox: &Toolbox) -> anyhow::Result<Self> {
        let mut observed = Self::default();
        observed.findings.extend(toolbox.note().cloned());
        // A kernel without nftables has no tables of that variant.
        let tables = nftables::tables().unwrap_or_default();
        observed.look_at_all_iptables(root, toolbox, &tables, None);
        observed.bridge_tables = named(tables.clone(), BRIDGE_TABLE);
        observed.nft_tables = of_nftables_mode(tables);
        observed.look_at_sets(root, toolbox);
        observed.look_at_ipvs(root)?;
        Ok(observed)
    }

    /// Reads only one table of iptables, such as `filter`, which takes a small part of the time.
    pub fn one_table(root: &Root, toolbox: &Toolbox, table: &str) -> Vec<(Place, Save)> {
        let mut observed = Self::default();
        observed.look_at_all_iptables(root, toolbox, &nftables::tables().unwrap_or_default(), Some(table));
        observed.saves
    }

    /// Reads IPVS and `kube-ipvs0` again.
    ///
    /// # Errors
    /// If a file below `/proc` exists and cannot be read, or the kernel does not answer.
    pub fn look_at_ipvs(&mut self, root: &Root) -> anyhow::Result<()> {
        let reading = |path| move || format!("reading {}", root.display(path).display());
        self.servers.clear();
        root.read_lines(SERVERS, |line| self.servers.extend(ipvs_table::server(line)))
            .with_context(reading(SERVERS))?;
        self.servers.sort();
        // A busy node has a million of these: only the needed values are kept, not the text.
        self.connections.clear();
        root.read_lines(CONNECTIONS, |line| self.connections.extend(ipvs_table::connection(line)))
            .with_context(reading(CONNECTIONS))?;
        let link = links::find(LINK).context("asking the kernel for its network interfaces")?;
        let addresses = links::addresses().context("asking the kernel for this host's addresses")?;
        let index = link.as_ref().map(|link| link.index);
        self.link = link.is_some();
        let split = |on_link| addresses.iter().filter(move |(at, _)| (Some(*at) == index) == on_link);
        self.link_addresses = split(true).map(|(_, address)| *address).collect();
        self.own_addresses = split(false).map(|(_, address)| *address).collect();
        Ok(())
    }

    /// kube-proxy's virtual servers: their address is on `kube-ipvs0`, or it is the host's and the port is in a node
    /// port ipset.
    pub fn claimed(&self) -> Vec<&Server> {
        let node_ports = self.sets.node_ports();
        let is_node_port = |server: &Server| {
            self.own_addresses.contains(&server.address)
                && node_ports.iter().any(|(protocol, port)| *protocol == server.protocol && *port == server.port)
        };
        let claimed = |server: &&Server| {
            server.protocol != "FWM" && (self.link_addresses.contains(&server.address) || is_node_port(server))
        };
        self.servers.iter().filter(claimed).collect()
    }

    fn look_at_all_iptables(&mut self, root: &Root, toolbox: &Toolbox, tables: &[String], only: Option<&str>) {
        for place in &Place::ALL {
            if place.variant == "legacy" || place.is_in(tables) {
                self.look_at_iptables(root, toolbox, *place, only);
            }
        }
    }

    fn look_at_iptables(&mut self, root: &Root, toolbox: &Toolbox, place: Place, only: Option<&str>) {
        let Some([save, _]) = place.tools(toolbox) else {
            if place.variant == "legacy" && !legacy_tables(root, place).is_empty() {
                // Without any iptables this is an error. If the other variant exists, kube-proxy uses that one.
                let none = toolbox.find(&format!("{}-save", place.command())).is_none();
                let level = if none { Level::Error } else { Level::Warning };
                let what =
                    format!("{}-legacy-save was not found in kube-proxy's container or on the host", place.command());
                self.unseen(level, "no-iptables", what);
            }
            return;
        };
        let mut saved = Save::default();
        let mut of_legacy = if place.variant == "legacy" { legacy_tables(root, place) } else { Vec::new() };
        of_legacy.retain(|table| only.is_none_or(|only| only == table));
        let tables: Vec<Option<String>> = match place.variant {
            "legacy" if of_legacy.is_empty() => return,
            // To list all tables it reads /proc itself, which does not show this network inside a container.
            "legacy" if only.is_some() || !save.sees_us() => of_legacy.into_iter().map(Some).collect(),
            _ => vec![only.map(str::to_owned)],
        };
        for table in tables {
            let one = ["-t", table.as_deref().unwrap_or_default()];
            let arguments = if table.is_some() { &one[..] } else { &[] };
            if let Err(why) = save.read(arguments, &mut |line| saved.line(line)) {
                let what = format!("{} {}: {why}", save.name(), arguments.join(" "));
                self.unseen(Level::Error, "iptables-unreadable", what);
            }
        }
        if !saved.tables.is_empty() {
            self.saves.push((place, saved));
        }
    }

    fn look_at_sets(&mut self, root: &Root, toolbox: &Toolbox) {
        let mut sets = Sets::default();
        let result = toolbox.find("ipset").map(|ipset| ipset.read(&["save"], &mut |line| sets.line(line)));
        let (level, why) = match result {
            Some(Ok(())) => {
                self.sets = sets;
                return;
            }
            Some(Err(why)) => (Level::Error, format!("ipset: {why}")),
            None => (Level::Warning, "ipset was not found in kube-proxy's container or on the host".to_owned()),
        };
        // Without the module there are no sets.
        if crate::node::host::loaded_modules(root).is_ok_and(|modules| modules.contains("ip_set")) {
            self.unseen(level, "sets-unreadable", why);
        }
    }

    fn unseen(&mut self, level: Level, id: &'static str, message: String) {
        self.findings.push(finding(level, id, message, "install iptables, ipset and nftables on the host"));
    }
}

/// Those of these tables that nftables mode creates.
pub fn of_nftables_mode(tables: Vec<String>) -> Vec<String> {
    named(tables, NFT_TABLE)
}

/// Those of this name in the families of IPv4 and IPv6.
fn named(mut tables: Vec<String>, name: &str) -> Vec<String> {
    tables.retain(|table| table.strip_prefix("ip6 ").or_else(|| table.strip_prefix("ip ")) == Some(name));
    tables
}

/// The kernel's tables of the legacy variant. Reading another one would load it.
fn legacy_tables(root: &Root, place: Place) -> Vec<String> {
    let file = if place.family == "ipv6" { "/proc/net/ip6_tables_names" } else { "/proc/net/ip_tables_names" };
    let text = root.read(file).ok().flatten().unwrap_or_default();
    let mut tables: Vec<String> = text.lines().map(str::to_owned).collect();
    tables.sort();
    tables
}
