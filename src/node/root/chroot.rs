//! Running a program in a chroot.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::Root;

/// Makes `command` run with `root` as its `/`; nothing is changed for the system's own root.
///
/// The open folder of `root` is entered, even if its path was changed since, and the program is looked up inside.
pub fn enter(command: &mut Command, root: &Root) {
    if root.is_host() {
        return;
    }
    let root = root.clone();
    let enter = move || {
        nix::unistd::fchdir(root.as_fd())?;
        nix::unistd::chroot(".")?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing: the short path `.` becomes a
    // C string on the stack.
    #[expect(unsafe_code, reason = "the standard library has no stable way to change a child's root")]
    unsafe {
        command.pre_exec(enter);
    }
}
