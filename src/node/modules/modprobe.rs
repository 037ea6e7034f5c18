//! Running the host's own `modprobe`, which supports the host's compression, options and policy.

use std::io;
use std::process::Command;

use crate::bounded_command;
use crate::bounded_command::limits::PATIENT;
use crate::node::root::{Root, chroot};

/// Paths of modprobe; NixOS has only the last one (nixos/modules/system/boot/modprobe.nix adds kmod to the system's
/// packages).
const PLACES: [&str; 5] = [
    "/sbin/modprobe",
    "/usr/sbin/modprobe",
    "/bin/modprobe",
    "/usr/bin/modprobe",
    "/run/current-system/sw/bin/modprobe",
];

const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/run/current-system/sw/bin";

/// Loads and unloads kernel modules. Success is verified in `/proc/modules`, not by its result.
pub trait Modprobe {
    /// Loads all of `names` in one call; returns its stderr.
    ///
    /// # Errors
    /// If it could not be started.
    fn load(&self, names: &[&str]) -> io::Result<String>;

    /// Unloads all of `names` in one call; returns its stderr.
    ///
    /// # Errors
    /// If it could not be started.
    fn unload(&self, names: &[&str]) -> io::Result<String>;
}

/// The `modprobe` below a root, run in a chroot.
pub struct HostModprobe<'a>(pub &'a Root);

impl HostModprobe<'_> {
    fn run(&self, option: &str, names: &[&str]) -> io::Result<String> {
        if !self.0.may_run_programs() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} belongs to another user, so its modprobe is not run", self.0.path().display()),
            ));
        }
        let program = PLACES.into_iter().find(|path| self.0.exists(path)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("modprobe was not found in {}; install kmod", self.0.path().display()),
            )
        })?;
        let mut command = Command::new(program);
        // An `install` command in modprobe.d is run by a shell, which needs PATH.
        command.arg(option).arg("--").args(names).env_clear().env("LC_ALL", "C").env("PATH", PATH);
        chroot::enter(&mut command, self.0);
        tracing::info!("{program} {option} -- {}", names.join(" "));
        let ended = bounded_command::run_with_privileges(command, None, PATIENT, &mut |_| {})?;
        tracing::debug!("{program}: {}", ended.status);
        Ok(ended.stderr)
    }
}

impl Modprobe for HostModprobe<'_> {
    fn load(&self, names: &[&str]) -> io::Result<String> {
        self.run("-a", names)
    }

    fn unload(&self, names: &[&str]) -> io::Result<String> {
        self.run("-r", names)
    }
}
