//! The mechanisms that load modules at boot, and their rules.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::lists::Grammar;

/// A mechanism that loads modules at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// systemd-modules-load.service reads /etc/modules-load.d
    SystemdModulesLoad,
    /// OpenRC's modules service reads /etc/modules-load.d
    Openrc,
    /// RHEL 7's rhel-loadmodules.service runs /etc/sysconfig/modules/*.modules
    #[value(skip)]
    RhelLoadmodules,
    /// RHEL 8's loadmodules.service does the same
    #[value(skip)]
    Loadmodules,
    /// Debian's kmod script for sysvinit reads /etc/modules-load.d and /etc/modules
    Sysvinit,
    /// Another init reads /etc/modules-load.d: runit on Void, dinit on Chimera
    #[serde(rename = "modules-load.d")]
    #[value(name = "modules-load.d")]
    ModulesLoadD,
    /// Something runs /etc/sysconfig/modules/*.modules: rc.sysinit, rc.local
    SysconfigModules,
    /// Something else loads the mandatory modules at every boot: user-data, machine configuration
    Other,
}

impl Mechanism {
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
