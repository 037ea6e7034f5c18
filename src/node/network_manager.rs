//! Telling NetworkManager that its configuration changed.

use std::process::{Command, Stdio};

use super::root::Root;
use crate::report::{Finding, Level};

/// Reloads NetworkManager's configuration where it runs. `None` when that worked or there is nothing to reload:
/// a root that is not this system's own, or no NetworkManager running.
pub fn reload(root: &Root) -> Option<Finding> {
    if !root.is_host() || !root.is_dir("/run/NetworkManager") {
        return None;
    }
    let result = Command::new("nmcli").args(["general", "reload"]).stdin(Stdio::null()).output();
    let why = match result {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(Finding {
        level: Level::Warning,
        id: "networkmanager-reload",
        message: format!("NetworkManager was not reloaded: {why}"),
        hint: Some("systemctl reload NetworkManager".to_owned()),
    })
}
