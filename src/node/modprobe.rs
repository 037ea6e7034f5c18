//! The seam to the host's own `modprobe`, which honours the host's compression, options and policy.

use std::io;
use std::process::Command;

use super::chroot;
use super::root::Root;
use crate::bounded_command;
use crate::bounded_command::limits::PATIENT;

/// Where modprobe is; on NixOS only in the last one (nixos/modules/system/boot/modprobe.nix adds kmod to the system's packages).
const PLACES: [&str; 5] = [
    "/sbin/modprobe",
    "/usr/sbin/modprobe",
    "/bin/modprobe",
    "/usr/bin/modprobe",
    "/run/current-system/sw/bin/modprobe",
];

const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/run/current-system/sw/bin";

/// Loads and unloads kernel modules. Whether that worked is not for it to say: `/proc/modules` does.
pub trait Modprobe {
    /// One call that loads all of `names`; what it wrote to stderr.
    ///
    /// # Errors
    /// When it could not be run at all.
    fn load(&self, names: &[&str]) -> io::Result<String>;

    /// One call that unloads all of `names`; what it wrote to stderr.
    ///
    /// # Errors
    /// When it could not be run at all.
    fn unload(&self, names: &[&str]) -> io::Result<String>;
}

/// The `modprobe` that lies below a root, run with that root as its `/`.
pub struct HostModprobe<'a>(pub &'a Root);

impl HostModprobe<'_> {
    fn run(&self, option: &str, names: &[&str]) -> io::Result<String> {
        if !self.0.may_run_programs() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} belongs to another user: its modprobe is not run", self.0.path().display()),
            ));
        }
        let program = PLACES.into_iter().find(|path| self.0.exists(path)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no modprobe below {}: install kmod", self.0.path().display()),
            )
        })?;
        let mut command = Command::new(program);
        // An `install` command in modprobe.d is run by a shell, which looks for programs.
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
