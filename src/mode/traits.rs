//! What each mode needs on a node, and what kube-proxy does there in it. One value for each mode.

use super::proxy_mode::ProxyMode;

/// What kube-proxy does with IPVS virtual servers that it did not create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignIpvs {
    /// Nothing.
    Kept,
    /// Deletes those outside `ipvs.excludeCIDRs` (pkg/proxy/ipvs/proxier.go, `cleanLegacyService`).
    DeletedUnlessExcluded,
    /// Deletes all of them at every start (pkg/proxy/nftables, which cleans up ipvs mode; kubernetes issue 55857).
    AllDeleted,
}

/// What in the kernel carries Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Chains of the iptables family.
    IptablesChains,
    /// Virtual servers, with addresses on `kube-ipvs0` and ipsets that iptables rules refer to.
    VirtualServers,
    /// The nftables tables `kube-proxy` of both families.
    NftablesTables,
}

/// What distinguishes a mode from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeTraits {
    /// Whether it needs kernel modules that kube-proxy does not load on demand: without them kube-proxy exits from 1.26 on,
    /// and silently runs iptables before.
    pub needs_modules: bool,
    /// Whether `node install` prepares nodes for it: its modules, now and at boot. In iptables mode there is nothing to
    /// prepare: the iptables programs load the modules that a rule needs.
    pub is_prepared: bool,
    /// What it does with other programs' virtual servers.
    pub foreign_ipvs: ForeignIpvs,
    /// What carries Services.
    pub carrier: Carrier,
    /// Whether connections live in the kernel's IPVS, so that they need time to end when the mode is left.
    pub holds_connections: bool,
    /// Whether `ipvs.*` settings have an effect.
    pub has_ipvs_settings: bool,
}

impl ProxyMode {
    /// The command that prepares a node for this mode.
    pub fn install_command(self) -> &'static str {
        match self {
            Self::Iptables | Self::Ipvs => "kpx-prep node install",
            Self::Nftables => "kpx-prep node install --mode nftables",
        }
    }

    /// What distinguishes this mode.
    pub const fn traits(self) -> ModeTraits {
        match self {
            Self::Iptables => ModeTraits {
                needs_modules: false,
                is_prepared: false,
                foreign_ipvs: ForeignIpvs::Kept,
                carrier: Carrier::IptablesChains,
                holds_connections: false,
                has_ipvs_settings: false,
            },
            Self::Ipvs => ModeTraits {
                needs_modules: true,
                is_prepared: true,
                foreign_ipvs: ForeignIpvs::DeletedUnlessExcluded,
                carrier: Carrier::VirtualServers,
                holds_connections: true,
                has_ipvs_settings: true,
            },
            Self::Nftables => ModeTraits {
                // The kernel loads its modules on demand, where modprobe may: kube-proxy starts without them, and fails to sync.
                needs_modules: false,
                is_prepared: true,
                foreign_ipvs: ForeignIpvs::AllDeleted,
                carrier: Carrier::NftablesTables,
                holds_connections: false,
                has_ipvs_settings: false,
            },
        }
    }
}
