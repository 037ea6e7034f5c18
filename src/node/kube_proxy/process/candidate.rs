//! Decides which of the processes named kube-proxy is the real one; pure. [`super`] finds them.
//!
//! Any process can choose its name. kube-proxy is a process with uid 0 in the user namespace of this program and of the
//! host's first process, in the host's network; if its pod is known, it is in that pod's cgroup.

/// A process that may be kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its id in the host's `/proc`.
    pub id: String,
    /// Its start time in kernel ticks since boot: together with the id, it identifies the process.
    pub started: u64,
    /// Real, effective, saved and file system uid, as seen in this program's user namespace.
    pub uids: Vec<u32>,
    /// Its user namespace, as `user:[4026531837]`.
    pub user_namespace: Option<String>,
    /// A number for its network namespace.
    pub network: Option<u64>,
    /// Its effective capabilities, as bits (`CapEff`).
    pub capabilities: u64,
    /// Its lines of `/proc/ID/cgroup`.
    pub cgroup: String,
}

/// What candidates are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The user namespaces of this program and of the host's first process.
    pub user_namespaces: [Option<String>; 2],
    /// The same for the network namespace of this program.
    pub network: Option<u64>,
    /// Every capability that a process of this host can have: the bounding set of its first process.
    pub all_capabilities: u64,
}

/// Which process is kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None was identified.
    None,
    /// This process.
    One(Box<Candidate>),
    /// One of several; no guess is made.
    Several(Vec<String>),
}

impl Candidate {
    /// Whether it has all capabilities: then running its programs with all capabilities gives it no additional rights.
    pub fn holds_all(&self, place: &Place) -> bool {
        place.all_capabilities != 0 && self.capabilities & place.all_capabilities == place.all_capabilities
    }

    /// The path of its cgroup, such as `/system.slice/kube-proxy.service`.
    pub fn cgroup_path(&self) -> &str {
        self.cgroup.lines().find_map(|line| line.splitn(3, ':').nth(2)).unwrap_or_default()
    }

    /// Whether it belongs to the pod with this id, by the kubelet's cgroup names.
    pub fn is_of_pod(&self, pod: &str) -> bool {
        self.pods().any(|id| id == pod)
    }

    /// The ids of the pods that its cgroups name.
    fn pods(&self) -> impl Iterator<Item = String> {
        let paths = self.cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.flat_map(|path| path.split(['/', ':'])).filter_map(pod_of)
    }
}

/// The pod's id in one part of a cgroup's path: `podUID` (cgroupfs driver), or `kubepods-besteffort-podUID.slice` with
/// underscores in the UID (systemd driver, which uses hyphens for levels). `pkg/kubelet/cm/pod_container_manager_linux.go`
/// and `cgroup_manager_linux.go` (`escapeSystemdCgroupName`).
fn pod_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let id = part.strip_prefix("pod").or_else(|| part.rsplit_once("-pod").map(|(_, id)| id))?;
    (!id.is_empty()).then(|| id.replace('_', "-"))
}

/// Whether a candidate can be kube-proxy of this host: uid 0 in the host's user namespace, in the host's network.
fn is_of_host(candidate: &Candidate, place: &Place) -> bool {
    candidate.uids == [0; 4]
        && candidate.user_namespace == place.user_namespaces[0]
        && candidate.network == place.network
}

/// The processes that may be kube-proxy of this host, of any user: those in its network, and those whose network is not
/// known.
pub fn in_hosts_network<'c>(candidates: &'c [Candidate], place: &Place) -> impl Iterator<Item = &'c Candidate> {
    let network = place.network;
    candidates
        .iter()
        .filter(move |candidate| network.is_none() || candidate.network.is_none() || candidate.network == network)
}

/// Processes that look like kube-proxy and do not belong to any pod. Empty if `pods`, the ids of kube-proxy's pods, are
/// unknown: then one of them may be the real one.
pub fn strangers<'c>(
    candidates: &'c [Candidate],
    place: &Place,
    pods: &[String],
) -> impl Iterator<Item = &'c Candidate> {
    let can_be_told = !pods.is_empty() && place.user_namespaces[0].is_some() && place.network.is_some();
    let is_stranger =
        move |candidate: &&Candidate| can_be_told && is_of_host(candidate, place) && candidate.pods().next().is_none();
    candidates.iter().filter(is_stranger)
}

/// Which of the candidates is kube-proxy. `pods`: the ids of its pods; if empty, any pod is accepted.
pub fn judge(candidates: Vec<Candidate>, place: &Place, pods: &[String]) -> Verdict {
    let [ours, first] = &place.user_namespaces;
    // No guess is made.
    if ours.is_none() || ours != first || place.network.is_none() {
        return Verdict::None;
    }
    let is_it = |candidate: &Candidate| {
        is_of_host(candidate, place) && (pods.is_empty() || pods.iter().any(|pod| candidate.is_of_pod(pod)))
    };
    let mut found: Vec<Candidate> = candidates.into_iter().filter(is_it).collect();
    // Several in one pod: the one that started the others.
    if !pods.is_empty() && pods.iter().any(|pod| found.iter().all(|candidate| candidate.is_of_pod(pod))) {
        found.sort_by_key(|candidate| candidate.started);
        found.truncate(1);
    }
    match found.len() {
        0 => Verdict::None,
        1 => Verdict::One(Box::new(found.remove(0))),
        _ => Verdict::Several(found.into_iter().map(|candidate| candidate.id).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "user:[4026531837]";
    const NETWORK: u64 = 4_026_531_840;
    const POD: &str = "2f6c583e-4a1d-4c59-9d6e-0d3d7f1f4b11";

    fn place() -> Place {
        Place {
            user_namespaces: [Some(HOST.to_owned()), Some(HOST.to_owned())],
            network: Some(NETWORK),
            all_capabilities: 0x1ff_ffff_ffff,
        }
    }

    fn kube_proxy(id: &str) -> Candidate {
        Candidate {
            id: id.to_owned(),
            started: id.parse().unwrap(),
            uids: vec![0; 4],
            user_namespace: Some(HOST.to_owned()),
            network: Some(NETWORK),
            capabilities: 0x1ff_ffff_ffff,
            cgroup: format!("0::/kubepods/besteffort/pod{POD}/4cdb\n"),
        }
    }

    fn chosen(candidates: Vec<Candidate>, pods: &[&str]) -> String {
        let pods: Vec<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
        match judge(candidates, &place(), &pods) {
            Verdict::None => "none".to_owned(),
            Verdict::One(candidate) => candidate.id,
            Verdict::Several(ids) => ids.join(" or "),
        }
    }

    #[test]
    fn identifies_kube_proxy() {
        let other = |change: fn(&mut Candidate)| {
            let mut candidate = kube_proxy("7");
            change(&mut candidate);
            candidate
        };
        // What an unprivileged user or pod can imitate.
        for (what, imposter) in [
            ("root of a user namespace of its own", other(|c| c.user_namespace = Some("user:[4026532500]".to_owned()))),
            ("its user namespace cannot be read", other(|c| c.user_namespace = None)),
            ("another uid", other(|c| c.uids = vec![1000; 4])),
            ("a program that is setuid root", other(|c| c.uids = vec![1000, 0, 0, 0])),
            ("gone by now", other(|c| c.uids = Vec::new())),
            ("a network of its own", other(|c| c.network = Some(4_026_532_600))),
        ] {
            assert_eq!(chosen(vec![imposter.clone()], &[]), "none", "{what}");
            assert_eq!(chosen(vec![imposter, kube_proxy("9")], &[]), "9", "{what}");
        }
        let second = other(|c| c.cgroup = "0::/user.slice\n".to_owned());
        assert_eq!(chosen(vec![second.clone(), kube_proxy("9")], &[]), "7 or 9", "not guessed");
        assert_eq!(chosen(vec![second.clone(), kube_proxy("9")], &[POD]), "9", "its pod is known");
        assert_eq!(chosen(vec![second], &[POD]), "none");
        assert_eq!(chosen(vec![kube_proxy("12"), kube_proxy("9")], &[POD]), "9", "a child of the same name");
        let mut nested = place();
        nested.user_namespaces[1] = Some("user:[1]".to_owned());
        assert_eq!(judge(vec![kube_proxy("9")], &nested, &[]), Verdict::None, "this program is not in the host's");
        nested.user_namespaces = [None, None];
        assert_eq!(judge(vec![kube_proxy("9")], &nested, &[]), Verdict::None, "it cannot be told");
    }

    #[test]
    fn all_capabilities() {
        let holds = |capabilities, all| {
            Candidate { capabilities, ..kube_proxy("9") }.holds_all(&Place { all_capabilities: all, ..place() })
        };
        assert!(holds(0x1ff_ffff_ffff, 0x1ff_ffff_ffff));
        assert!(holds(u64::MAX, 0x1ff_ffff_ffff));
        assert!(!holds(0x0ff_ffff_ffff, 0x1ff_ffff_ffff), "one is missing");
        assert!(!holds(0x3000, 0x1ff_ffff_ffff), "CAP_NET_ADMIN and CAP_NET_RAW");
        assert!(!holds(u64::MAX, 0), "the kernel does not tell");
    }

    #[test]
    fn cgroups_of_pods() {
        let systemd = POD.replace('-', "_");
        for (what, cgroup, expected) in [
            ("cgroupfs", format!("0::/kubepods/besteffort/pod{POD}/4cdb"), true),
            ("cgroupfs, guaranteed", format!("0::/kubepods/pod{POD}/4cdb"), true),
            (
                "systemd",
                format!(
                    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{systemd}.slice/cri-containerd-4cdb.scope"
                ),
                true,
            ),
            ("systemd, guaranteed", format!("0::/kubepods.slice/kubepods-pod{systemd}.slice/crio-4cdb.scope"), true),
            (
                "a private cgroup namespace",
                format!("0::/../../kubepods-burstable-pod{systemd}.slice/cri-containerd-4cdb.scope"),
                true,
            ),
            (
                "version 1",
                format!("12:cpu,cpuacct:/system.slice\n11:memory:/kubepods/burstable/pod{POD}/4cdb\n1:name=systemd:/"),
                true,
            ),
            (
                "containerd without the systemd driver",
                format!(
                    "5:pids:/system.slice/containerd.service/kubepods-besteffort-pod{systemd}.slice:cri-containerd:4cdb"
                ),
                true,
            ),
            (
                "kind",
                format!(
                    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{systemd}.slice/cri-containerd-4cdb.scope"
                ),
                true,
            ),
            ("another pod", format!("0::/kubepods/besteffort/pod{}/4cdb", POD.replace('2', "3")), false),
            ("longer", format!("0::/kubepods/besteffort/pod{POD}0/4cdb"), false),
            ("shorter", format!("0::/kubepods/besteffort/pod{}/4cdb", &POD[..35]), false),
            ("a container of that name", format!("0::/kubepods/besteffort/podx/{POD}"), false),
            ("no pod", "0::/system.slice/kube-proxy.service".to_owned(), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(Candidate { cgroup, ..kube_proxy("9") }.is_of_pod(POD), expected, "{what}");
        }
        // A static pod, by its annotation kubernetes.io/config.hash.
        let hash = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        let cgroup = format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/x.scope");
        assert!(Candidate { cgroup, ..kube_proxy("9") }.is_of_pod(hash));
    }

    #[test]
    fn strangers_belong_to_no_pod() {
        let of = |id: &str, cgroup: &str| Candidate { cgroup: cgroup.to_owned(), ..kube_proxy(id) };
        let unit = of("2", "0::/system.slice/kube-proxy.service\n");
        let ours = kube_proxy("3");
        let other_pod = of("4", "0::/kubepods/pod11111111-4a1d-4c59-9d6e-0d3d7f1f4b11/1\n");
        let elsewhere = Candidate { network: Some(1), ..unit.clone() };
        let nobody = Candidate { uids: vec![65534; 4], ..unit.clone() };
        let all = [unit, ours, other_pod, elsewhere, nobody];
        let found: Vec<_> = strangers(&all, &place(), &[POD.to_owned()]).map(Candidate::cgroup_path).collect();
        assert_eq!(found, ["/system.slice/kube-proxy.service"]);
        assert_eq!(strangers(&all, &place(), &[]).count(), 0);
    }
}
