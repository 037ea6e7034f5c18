//! A kernel, or a seccomp profile, that is older than openat2.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, ENOSYS, EPERM, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SYS_openat2, c_int, prctl, sock_filter, sock_fprog,
};

/// Makes openat2 answer `error` in the command.
#[expect(unsafe_code, reason = "a filter is installed between fork and exec, by two bare system calls")]
pub(crate) fn refuse_openat2(command: &mut Command, error: c_int) -> &mut Command {
    let op = |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let filter = [
        op(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, u32::try_from(SYS_openat2).unwrap()),
        op(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | u32::try_from(error).unwrap()),
        op(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the filter and the program that points to it live for the whole call; nothing is allocated.
        let done = unsafe {
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls.
    unsafe { command.pre_exec(install) }
}

/// The filter works: otherwise the tests that use it would show nothing.
pub(crate) fn openat2_can_be_refused() {
    for error in [ENOSYS, EPERM] {
        let mut probe = Command::new(std::env::current_exe().unwrap());
        let output = refuse_openat2(probe.env(super::JOB, "openat2"), error).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), error.to_string());
    }
}

/// Prints the error of openat2, 0 for none.
pub(crate) fn print_openat2() {
    let how = nix::fcntl::OpenHow::new().flags(nix::fcntl::OFlag::O_PATH);
    println!("{}", nix::fcntl::openat2(nix::fcntl::AT_FDCWD, "/", how).map_or_else(|error| error as c_int, |_| 0));
}
