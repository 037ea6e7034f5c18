//! Telling NetworkManager that its configuration changed.

use std::process::Command;

use super::root::Root;
use crate::bounded_command;
use crate::bounded_command::limits::LITTLE;
use crate::report::{Finding, Level};

/// Reloads NetworkManager's configuration where it runs. `None` when that worked or there is nothing to reload:
/// a root that is not this system's own, or no NetworkManager running.
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
    Some(Finding {
        level: Level::Warning,
        id: "networkmanager-reload",
        message: format!("NetworkManager was not reloaded: {why}"),
        hint: Some("systemctl reload NetworkManager".to_owned()),
    })
}
