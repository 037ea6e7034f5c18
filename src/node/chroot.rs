//! Running a program with another file tree as its `/`.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::root::Root;

/// Lets `command` run with `root` as its `/`; the system's own needs nothing for that.
///
/// The folder that `root` holds is entered, whatever its path leads to by now, and the program is looked up inside.
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
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing: a path as short as `.`
    // becomes a C string on the stack.
    #[expect(unsafe_code, reason = "the standard library has no stable way to change a child's root")]
    unsafe {
        command.pre_exec(enter);
    }
}
