//! Running a program with another file tree as its `/`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::root::Root;

/// Lets `command` run with `root` as its `/`; the system's own needs nothing for that.
pub fn enter(command: &mut Command, root: &Root) {
    if root.is_host() {
        return;
    }
    let root = root.path().to_owned();
    let enter = move || {
        nix::unistd::chroot(&root)?;
        nix::unistd::chdir("/")?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls. Turning the path into a C string uses the
    // stack for paths of ordinary length; for longer ones it allocates, which is sound here because this program
    // has only one thread.
    #[expect(unsafe_code, reason = "the standard library has no stable way to change a child's root")]
    unsafe {
        command.pre_exec(enter);
    }
}
