//! The same as in `swap`, without chance: the program is stopped at each of its system calls that may take a path, the
//! exchange is made there, and undone at the next one, at the one after that, or never.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc::{self, ENOSYS, c_long};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::swap::{COMMANDS, PLACES, canary, leaked, links, prepared};
use super::{SECRET, folder, kpx_prep, seccomp};

/// Primes: over all places and commands the steps that are looked at differ. Step by step there are three times as many.
const STRIDE: usize = 29;
const STRIDE_OF_WALK: usize = 89;

/// System calls that take no path; all others are steps.
const NO_PATH: [c_long; 22] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_flock,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_futex,
    libc::SYS_pread64,
    libc::SYS_geteuid,
    libc::SYS_exit_group,
];

type Prepare = fn(&mut Command) -> &mut Command;

pub(crate) fn some_with_openat2() {
    steps("openat2", STRIDE, |command| command);
}

pub(crate) fn some_without_openat2() {
    steps("no openat2", STRIDE_OF_WALK, |command| seccomp::refuse_openat2(command, ENOSYS));
}

/// Each one, and without openat2, where one call of it is several, each third. Some minutes.
pub(crate) fn every() {
    steps("openat2", 1, |command| command);
    steps("no openat2", 3, |command| seccomp::refuse_openat2(command, ENOSYS));
}

fn steps(way: &str, stride: usize, prepare: Prepare) {
    let folder = folder();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    let (mut runs, mut done, mut wrote_outside, mut told) = (0, 0, 0, 0);
    let mut first = String::new();
    for (number, place) in PLACES.iter().enumerate() {
        for (command, foreign, folders) in COMMANDS {
            let mut step = number % stride;
            loop {
                let before = prepared(&root, &outside, (command, foreign, folders));
                let link = links(&root, &outside, place, runs);
                let until = [step + 1, step + 2, usize::MAX][runs % 3];
                let mut traced = kpx_prep(&root, command);
                let meet = |at: usize| {
                    if at == step || at == until {
                        exchange(&root.join(place), &link);
                    }
                };
                let (exit, text, count) = trace(prepare(&mut traced), meet);
                assert!((0..=3).contains(&exit), "{way}, {place}, {command}, step {step}: {exit} {text}");
                if step >= count {
                    break;
                }
                runs += 1;
                done += usize::from(exit == 0);
                let (wrote, tells) = (canary(&outside) != before, leaked(&root) || text.contains(SECRET));
                wrote_outside += usize::from(wrote);
                told += usize::from(tells);
                if (wrote || tells) && first.is_empty() {
                    first = format!("{place}, {command}, step {step} of {count}, until {until}: exit {exit}\n{text}");
                }
                step += stride;
            }
        }
    }
    println!("{way}: {runs} steps, {done} runs done; wrote outside: {wrote_outside}, told what is outside: {told}");
    assert_eq!((wrote_outside, told), (0, 0), "the first one: {first}");
    assert!(runs > 200 && done > runs / 10);
}

fn exchange(place: &Path, link: &Path) {
    // Where nothing is in that place yet, there is nothing to exchange.
    let _ = renameat2(AT_FDCWD, place, AT_FDCWD, link, RenameFlags::RENAME_EXCHANGE);
}

/// Runs the command and calls `meet` on entry to each system call that may take a path. How it ended, what it said, and
/// how many of them there were.
#[expect(clippy::zombie_processes, reason = "its tracer waits for it")]
#[expect(unsafe_code, reason = "a child asks to be traced between fork and exec, by one bare system call")]
fn trace(command: &mut Command, mut meet: impl FnMut(usize)) -> (i32, String, usize) {
    // SAFETY: the closure makes one system call.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    assert_eq!(waitpid(id, None).unwrap(), WaitStatus::Stopped(id, Signal::SIGTRAP));
    ptrace::setoptions(id, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL).unwrap();
    let (mut count, mut entering, mut signal) = (0, true, None);
    let exit = loop {
        ptrace::syscall(id, signal.take()).unwrap();
        match waitpid(id, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                if entering && takes_path(id) {
                    meet(count);
                    count += 1;
                }
                entering = !entering;
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, exit) => break exit,
            WaitStatus::Signaled(..) => break -1,
            other => panic!("{other:?}"),
        }
    };
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (exit, text, count)
}

/// Its file in `/proc` begins with the number of the system call that it is in.
fn takes_path(id: Pid) -> bool {
    let text = fs::read_to_string(format!("/proc/{id}/syscall")).unwrap();
    text.split(' ').next().unwrap().parse().is_ok_and(|number: c_long| !NO_PATH.contains(&number))
}
