//! The seam to the host's own `modprobe`, which honours the host's compression, options and policy.

use std::io;
use std::process::{Command, Stdio};

use super::chroot;
use super::root::Root;

const PLACES: [&str; 4] = ["/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe"];

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
        let program = PLACES.into_iter().find(|path| self.0.exists(path)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no modprobe below {}: install kmod", self.0.path().display()),
            )
        })?;
        let mut command = Command::new(program);
        command.arg(option).arg("--").args(names).env("LC_ALL", "C").stdin(Stdio::null());
        chroot::enter(&mut command, self.0);
        tracing::info!("{program} {option} -- {}", names.join(" "));
        let output = command.output()?;
        tracing::debug!("{program}: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
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
