//! Reloading NetworkManager's configuration.

use std::process::Command;

use crate::bounded_command;
use crate::bounded_command::limits::LITTLE;
use crate::node::root::Root;
use crate::report::{Finding, Level, finding};

/// Reloads NetworkManager's configuration if it is running. `None` on success, or if there is nothing to reload: the root
/// is not this system's own, or NetworkManager is not running.
pub fn reload(root: &Root) -> Option<Finding> {
    if !root.is_host() || !root.is_dir("/run/NetworkManager") {
        return None;
    }
    let mut command = Command::new("nmcli");
    command.args(["general", "reload"]);
    let why = match bounded_command::run_with_privileges(command, None, LITTLE, &mut |_| {}) {
        Ok(ended) if ended.status.success() => return None,
        Ok(ended) => ended.stderr,
        Err(error) => error.to_string(),
    };
    Some(finding(
        Level::Warning,
        "networkmanager-reload",
        format!("NetworkManager was not reloaded: {why}"),
        "run systemctl reload NetworkManager",
    ))
}
