//! Running a program with untrusted output: the output is read as a stream, line by line, with a size limit and a timeout.

pub mod limits;
mod pipes;

use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use self::pipes::{Ear, Pipes};
use crate::boot_clock::BootInstant;
use limits::Limits;

/// Between two looks at whether a program has ended that has closed its output.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The result of a program that exited within its limits.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its standard error, trimmed; only the first 64 KiB.
    pub stderr: String,
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
}

/// Runs `command` with `input` and passes each line of its output to `each`, without the line end; bytes that are not
/// UTF-8 are replaced. It runs with `no_new_privs` in its own process group, which is killed when the program exits or
/// exceeds a limit.
///
/// # Errors
/// If it could not be started, or exceeded a limit: its output must then not be used.
pub fn run(mut command: Command, input: Option<&str>, limits: Limits, each: &mut dyn FnMut(&str)) -> io::Result<Ended> {
    let confine = || {
        nix::sys::prctl::set_no_new_privs()?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call with constants, and nothing else.
    #[expect(unsafe_code, reason = "the standard library cannot set no_new_privs in a child")]
    unsafe {
        command.pre_exec(confine);
    }
    run_with_privileges(command, input, limits, each)
}

/// Like [`run`], for a program of the host that may gain privileges: under SELinux, the domain in which modprobe may load
/// modules.
///
/// # Errors
/// As [`run`].
pub fn run_with_privileges(
    mut command: Command,
    input: Option<&str>,
    limits: Limits,
    each: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).process_group(0);
    supervise(command, input, limits, Ear { line: each, error: &mut |_| {} }, true)
}

/// Like [`run`], for a program that the operator configured and that may prompt them: its standard error goes to `error`
/// as it arrives, and processes that it leaves running are not killed. At a `terminal` it reads from that, in this
/// process's group.
///
/// # Errors
/// As [`run`].
pub fn run_for_operator(
    mut command: Command,
    terminal: bool,
    limits: Limits,
    each: &mut dyn FnMut(&str),
    error: &mut dyn FnMut(&[u8]),
) -> io::Result<Ended> {
    command.stdin(if terminal { Stdio::inherit() } else { Stdio::null() });
    if !terminal {
        command.process_group(0);
    }
    supervise(command, None, limits, Ear { line: each, error }, false)
}

/// `ends_group`: kill what the program leaves running when it exits.
fn supervise(
    mut command: Command,
    input: Option<&str>,
    limits: Limits,
    mut ear: Ear<'_>,
    ends_group: bool,
) -> io::Result<Ended> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let confine = || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call with constants, and nothing else.
    #[expect(unsafe_code, reason = "the standard library cannot bind a child's life to this process's")]
    unsafe {
        command.pre_exec(confine);
    }
    let mut running = Running { child: command.spawn()?, ended: false };
    let mut pipes = Pipes::of(&mut running.child, input, limits.bytes)?;
    let from = BootInstant::now();
    while !pipes.are_closed() {
        let left = limits.time.saturating_sub(from.elapsed());
        if left.is_zero() {
            return Err(over_time(limits));
        }
        pipes.wait(left)?;
        pipes.exchange(limits, &mut ear)?;
    }
    pipes.last_line(&mut ear);
    // It may have closed its output and still be running: most often it is just ending.
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Some(status) = running.child.try_wait()? {
            if ends_group {
                running.end_group();
            }
            running.ended = true;
            return Ok(Ended { stderr: pipes.stderr(), status });
        }
        if from.elapsed() >= limits.time {
            return Err(over_time(limits));
        }
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn over_time(limits: Limits) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("it did not finish within {:?} and was stopped", limits.time))
}

/// A child process that is killed when this value is dropped.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    /// Kills what is left of the program's process group; it may be gone already.
    fn end_group(&self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.end_group();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: Option<&str>, limits: Limits) -> io::Result<(Vec<String>, Ended)> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let ended = run(command, input, limits, &mut |line| lines.push(line.to_owned()))?;
        Ok((lines, ended))
    }

    const SMALL: Limits = Limits { time: Duration::from_secs(20), bytes: 1 << 20 };

    #[test]
    fn lines_and_how_it_ended() {
        let (lines, ended) = shell("printf 'a\\nb\\n\\nc'; echo why >&2; exit 3", None, SMALL).unwrap();
        assert_eq!(
            (lines, ended.stderr.as_str(), ended.status.success()),
            (vec!["a".into(), "b".into(), "c".into()], "why", false)
        );
        let (lines, ended) = shell("cat", Some("one\ntwo\n"), SMALL).unwrap();
        assert_eq!((lines, ended.status.success()), (vec!["one".into(), "two".into()], true));
        // More than a pipe's buffer in both directions, and an input that is not read.
        let long = "x".repeat(70).as_str().to_owned() + "\n";
        let long = long.repeat(10_000);
        assert_eq!(shell("cat", Some(&long), SMALL).unwrap().0.len(), 10_000);
        assert!(shell("exit 0", Some(&long), SMALL).unwrap().1.status.success());
    }

    #[test]
    fn no_privileges_to_gain_and_the_limits() {
        let (lines, _) = shell("grep NoNewPrivs /proc/self/status", None, SMALL).unwrap();
        assert_eq!(lines, ["NoNewPrivs:\t1"]);
        let endless = shell("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", None, SMALL);
        assert_eq!(endless.unwrap_err().kind(), ErrorKind::FileTooLarge);
        let errors =
            shell("exec >/dev/null; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy >&2; done", None, SMALL);
        assert_eq!(errors.unwrap_err().kind(), ErrorKind::FileTooLarge);
        let quick = Limits { time: Duration::from_millis(300), ..SMALL };
        for script in ["sleep 60", "sleep 60 & sleep 60", "exec >&- 2>&-; sleep 60", "(sleep 60) & exit 0"] {
            let from = BootInstant::now();
            assert_eq!(shell(script, None, quick).unwrap_err().kind(), ErrorKind::TimedOut, "{script}");
            assert!(from.elapsed() < Duration::from_secs(10), "{script}");
        }
        let wide = Limits { bytes: 8 << 20, ..SMALL };
        let line = shell("head -c 2000000 /dev/zero | tr '\\0' x", None, wide);
        assert_eq!(line.unwrap_err().kind(), ErrorKind::FileTooLarge, "an endless line");
    }

    #[test]
    fn limits_grow_with_the_number_of_services() {
        assert_eq!(Limits::for_services(0), Limits { time: Duration::from_secs(30), bytes: 64 << 20 });
        let most = Limits::for_services(10_000);
        assert!(most.time == Duration::from_secs(600) && most.bytes <= 1 << 30 && most.bytes > (1 << 30) - 10_000);
        assert_eq!(Limits::for_services(usize::MAX), most);
    }
}
