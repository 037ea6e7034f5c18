//! What can be wrong with a node.

use std::time::Duration;

/// One thing that is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// kube-proxy ends at once when told to use ipvs, again and again.
    CrashesInIpvs,
    /// The kernel has no ipvs: told to use it, kube-proxy up to 1.25 runs iptables and says so only in its log, a later one
    /// ends at once.
    LacksIpvs,
    /// The container never starts: its image cannot be pulled.
    NeverReady,
    /// kube-proxy runs ipvs for that long, restarts, and falls back.
    LosesIpvsAfter(Duration),
    /// The kubelet answers 500 to port-forwarding.
    RefusesPortForward,
    /// The log no longer holds its first lines.
    LogRotated,
    /// The kubelet is gone: the node is not ready, nothing starts or ends there.
    Down,
    /// Pods are not bound to it.
    Unschedulable,
    /// The kubelet answers 500 to exec.
    RefusesExec,
    /// A command in a container takes that long, and says in time that it is at work.
    SlowExec(Duration),
    /// The next command in a container is never answered: the connection stays open, and silent.
    SilentOnce,
    /// The output of the next command in a container is lost, and its status says that it succeeded.
    OutputLostOnce,
    /// No image but kube-proxy's is there, and none may be pulled.
    NoOtherImage,
    /// The kernel has no ipvs modules.
    CannotBePrepared,
    /// The modules are there and do not load.
    InstallFails,
    /// Somebody else has a virtual server there.
    ForeignServer,
    /// In ipvs mode no Service answers.
    StopsServing,
    /// In nftables mode no Service answers.
    NotServingInNftables,
    /// In ipvs mode kube-proxy fails at each sync, as its metrics say.
    FailsToSync,
    /// kube-proxy answers late, and that long after its start has it written its rules, as its metrics say.
    SlowFirstSync(Duration),
    /// In ipvs mode kube-proxy calls itself unhealthy, whatever its metrics say.
    CallsItselfUnhealthy,
    /// In ipvs mode kube-proxy never programs all Services, whatever its metrics say.
    NeverSyncs,
    /// Rules cannot be copied.
    CannotBridge,
    /// Nothing but kube-proxy answers for the API Service.
    NoOtherDataPlane,
    /// What else answers for the API Service does so only as long as kube-proxy's rules are there.
    LeansOnKubeProxy,
    /// What the old mode left cannot be removed.
    CannotBeCleaned,
    /// Containers take that much longer to start.
    SlowStart(Duration),
}

/// How long one with a slow first sync is silent: longer than kpx-prep waits before it reads the log.
pub(crate) const SILENT: Duration = Duration::from_millis(3500);

impl Misbehaviour {
    /// How long after its start a kube-proxy has synced.
    pub(crate) fn first_sync(wrong: &[Self]) -> Duration {
        let slow = wrong.iter().find_map(|one| if let Self::SlowFirstSync(after) = one { Some(*after) } else { None });
        slow.unwrap_or_default()
    }
}
