//! The mechanisms that load modules at boot, and their rules.

use serde::{Deserialize, Serialize};

use super::lists::Grammar;

/// A mechanism that loads modules at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "full", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// systemd-modules-load.service reads /etc/modules-load.d
    SystemdModulesLoad,
    /// OpenRC's modules service reads /etc/modules-load.d
    Openrc,
    /// RHEL 7's rhel-loadmodules.service runs /etc/sysconfig/modules/*.modules
    #[cfg_attr(feature = "full", value(skip))]
    RhelLoadmodules,
    /// RHEL 8's loadmodules.service does the same
    #[cfg_attr(feature = "full", value(skip))]
    Loadmodules,
    /// Debian's kmod script for sysvinit reads /etc/modules-load.d and /etc/modules
    Sysvinit,
    /// Another init reads /etc/modules-load.d: runit on Void, dinit on Chimera
    #[serde(rename = "modules-load.d")]
    #[cfg_attr(feature = "full", value(name = "modules-load.d"))]
    ModulesLoadD,
    /// Something runs /etc/sysconfig/modules/*.modules: rc.sysinit, rc.local
    SysconfigModules,
    /// Something else loads the mandatory modules at every boot: user-data, machine configuration
    Other,
}

impl Mechanism {
    /// Those that an operator can name.
    const NAMED: [(&'static str, Self); 6] = [
        ("systemd-modules-load", Self::SystemdModulesLoad),
        ("openrc", Self::Openrc),
        ("sysvinit", Self::Sysvinit),
        ("modules-load.d", Self::ModulesLoadD),
        ("sysconfig-modules", Self::SysconfigModules),
        ("other", Self::Other),
    ];

    /// The name for `--boot-mechanism`, where an operator can name it.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, named)| *named == self).map(|(name, _)| *name)
    }

    /// The mechanism with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(one, _)| *one == name).map(|(_, named)| *named)
    }

    /// A description: what it is and which files it reads or runs.
    pub fn describe(self) -> &'static str {
        match self {
            Self::SystemdModulesLoad => "systemd-modules-load reads /etc/modules-load.d",
            Self::Openrc => "OpenRC's modules service reads /etc/modules-load.d",
            Self::RhelLoadmodules => "rhel-loadmodules.service runs /etc/sysconfig/modules/*.modules",
            Self::Loadmodules => "loadmodules.service runs /etc/sysconfig/modules/*.modules",
            Self::Sysvinit => "sysvinit's kmod script reads /etc/modules-load.d",
            Self::ModulesLoadD => "this host's init reads /etc/modules-load.d",
            Self::SysconfigModules => "this host's init runs /etc/sysconfig/modules/*.modules",
            Self::Other => "something else loads the modules",
        }
    }

    /// Whether it runs the scripts of /etc/sysconfig/modules.
    pub fn runs_scripts(self) -> bool {
        matches!(self, Self::RhelLoadmodules | Self::Loadmodules | Self::SysconfigModules)
    }

    /// The grammar in which it reads modules-load.d, if it does.
    pub fn grammar(self) -> Option<Grammar> {
        match self {
            Self::SystemdModulesLoad => Some(Grammar::Systemd),
            Self::Openrc => Some(Grammar::Openrc),
            Self::Sysvinit => Some(Grammar::Sysvinit),
            Self::ModulesLoadD => Some(Grammar::WholeLine),
            Self::RhelLoadmodules | Self::Loadmodules | Self::SysconfigModules | Self::Other => None,
        }
    }
}
