//! Replaces names and addresses by others, the same one everywhere, so that a reader can still follow them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::runs::{Part, parts, words};

/// No name or address has more words than this.
const WORDS: usize = 40;
/// Names that every cluster has.
const COMMON: [&str; 9] = [
    "default",
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "kubernetes",
    "kube-dns",
    "kube-proxy",
    "localhost",
    "cluster.local",
];

/// The kind of a name; part of what replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A node, by any of its names.
    Node,
    /// A DNS domain.
    Domain,
    /// A host that is no node, such as that of the API server.
    Host,
    /// A namespace.
    Namespace,
    /// A Service.
    Service,
    /// A pod.
    Pod,
    /// A `DaemonSet`.
    DaemonSet,
    /// A context, cluster or user of a kubeconfig.
    Context,
}

impl NameKind {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Domain => "domain",
            Self::Host => "host",
            Self::Namespace => "namespace",
            Self::Service => "service",
            Self::Pod => "pod",
            Self::DaemonSet => "daemonset",
            Self::Context => "context",
        }
    }

    /// Whether it also stands within longer names (`etcd-NODE`), and in any case (DNS).
    fn is_of_host(self) -> bool {
        matches!(self, Self::Node | Self::Domain | Self::Host)
    }
}

#[derive(Clone, Debug)]
struct Alias {
    kind: NameKind,
    text: String,
}

/// Replaces names that were added, and all addresses but loopback, unspecified, link-local IPv4 and multicast ones.
///
/// Addresses become ones of `198.18.0.0/15` (RFC 2544) and `2001:db8::/32` (RFC 3849), numbered as they are met: which networks
/// they are of is lost, lengths of prefixes stay.
#[derive(Debug, Default)]
pub struct Anonymizer {
    names: HashMap<String, Alias>,
    counts: HashMap<NameKind, usize>,
    addresses: HashMap<IpAddr, String>,
    cards: HashMap<String, String>,
}

impl Anonymizer {
    /// Adds a name; a name is replaced as the kind it was first added as. Names that every cluster has stay.
    pub fn add(&mut self, kind: NameKind, name: &str) {
        self.add_all(kind, &[name]);
    }

    /// Adds the names of one object: all get the same replacement. Of a name with a domain, the domain is replaced too.
    pub fn add_all(&mut self, kind: NameKind, names: &[&str]) {
        let is_new = |name: &&str| !name.is_empty() && !COMMON.contains(name) && name.parse::<IpAddr>().is_err();
        let lower: Vec<String> =
            names.iter().filter(|name| is_new(name)).map(|name| name.to_ascii_lowercase()).collect();
        let known = lower.iter().find_map(|name| self.names.get(name).filter(|alias| alias.kind == kind));
        let Some(first) = lower.first() else { return };
        let text = match known {
            Some(alias) => alias.text.clone(),
            None if self.names.contains_key(first) && lower.len() == 1 => return,
            None => {
                let count = self.counts.entry(kind).or_default();
                *count += 1;
                format!("{}-{count}", kind.word())
            }
        };
        for name in &lower {
            self.names.entry(name.clone()).or_insert_with(|| Alias { kind, text: text.clone() });
            let Some((short, domain)) = name.split_once('.').filter(|_| kind.is_of_host() && kind != NameKind::Domain)
            else {
                continue;
            };
            self.names.entry(short.to_owned()).or_insert_with(|| Alias { kind, text: text.clone() });
            if domain.contains('.') {
                self.add(NameKind::Domain, domain);
            }
        }
    }

    /// The text with every added name and every address replaced.
    pub fn text(&mut self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        for part in parts(text) {
            match part {
                Part::Other(part) => replaced.push_str(part),
                Part::Run(run) => self.run(run, &mut replaced),
            }
        }
        replaced
    }

    fn run(&mut self, run: &str, replaced: &mut String) {
        if let Some(card) = self.card(run) {
            return replaced.push_str(&card);
        }
        let words = words(run);
        // `::1` and `fd00::` begin or end with separators.
        let edges = [0, run.len()];
        let longest = WORDS.min(words.len());
        let mut done = 0;
        let mut at = 0;
        while at < words.len() {
            let found = (1..=longest.min(words.len() - at)).rev().find_map(|count| {
                let (from, to) = (words[at].0, words[at + count - 1].1);
                let wider =
                    (if at == 0 { edges[0] } else { from }, if at + count == words.len() { edges[1] } else { to });
                let address = [(wider.0, wider.1), (from, wider.1), (wider.0, to), (from, to)];
                let address = address.into_iter().find_map(|(from, to)| {
                    let (from, to) = (from.max(done), to);
                    Some((from, to, self.address(run, from, to)?))
                });
                let name = || Some((from, to, self.name(run, from, to)?));
                address.or_else(name).map(|found| (found, count))
            });
            match found {
                Some(((from, to, text), count)) => {
                    replaced.push_str(&run[done..from]);
                    replaced.push_str(&text);
                    done = to;
                    at += count;
                }
                None => at += 1,
            }
        }
        replaced.push_str(&run[done..]);
    }

    fn name(&self, run: &str, from: usize, to: usize) -> Option<String> {
        let name = &run[from..to];
        let alias = self.names.get(&name.to_ascii_lowercase())?;
        if alias.kind.is_of_host() {
            return Some(alias.text.clone());
        }
        let joined = run[..from].ends_with('-') || run[to..].starts_with('-');
        (!joined && !name.bytes().any(|byte| byte.is_ascii_uppercase())).then(|| alias.text.clone())
    }

    fn address(&mut self, run: &str, from: usize, to: usize) -> Option<String> {
        let text = run.get(from..to)?;
        let address: IpAddr = text.parse().ok()?;
        // 1.2.3.4 within 1.2.3.4.5 is a part of a version.
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let bytes = run.as_bytes();
        let goes_on = address.is_ipv4()
            && (from > 1 && bytes[from - 1] == b'.' && is_digit(bytes.get(from - 2))
                || bytes.get(to) == Some(&b'.') && is_digit(bytes.get(to + 1)));
        if goes_on {
            return None;
        }
        Some(self.alias_of(address))
    }

    /// What replaces an address.
    fn alias_of(&mut self, address: IpAddr) -> String {
        let address = address.to_canonical();
        if stays(address) {
            return address.to_string();
        }
        if let Some(alias) = self.addresses.get(&address) {
            return alias.clone();
        }
        let number = 1 + u32::try_from(self.addresses.len()).unwrap_or(u32::MAX / 2);
        let alias = match address {
            IpAddr::V4(_) => Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number).to_string(),
            IpAddr::V6(_) => {
                let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
                Ipv6Addr::from(base + u128::from(number)).to_string()
            }
        };
        self.addresses.insert(address, alias.clone());
        alias
    }

    /// What replaces the hardware address of a network card.
    fn card(&mut self, run: &str) -> Option<String> {
        let mut bytes = run.split(':');
        let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if run.len() != 17 || !bytes.all(is_byte) {
            return None;
        }
        let number = 1 + self.cards.len();
        let (high, low) = (number / 256 % 256, number % 256);
        let alias = || format!("02:00:00:00:{high:02x}:{low:02x}");
        Some(self.cards.entry(run.to_ascii_lowercase()).or_insert_with(alias).clone())
    }
}

/// Addresses that say nothing about a cluster, and netmasks.
fn stays(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_unspecified() || v4.is_link_local() || v4.is_multicast() || v4.octets()[0] == 255
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast(),
    }
}
