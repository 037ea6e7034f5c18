//! Configs for Ignition (Flatcar, Fedora CoreOS), which has no place for commands: what cloud-init runs, units of systemd run
//! here, by the same scripts.
//!
//! The spec is that of version 3.1.0, the first in which `verification.hash` may be a SHA-256
//! (`config/v3_1/types/verification.go` in coreos/ignition); later versions of Ignition read it.

mod config;
mod units;

pub use config::{BINARY, render};
