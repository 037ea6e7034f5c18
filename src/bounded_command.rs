//! Running a program whose output is not under our control: read as a stream, line by line, with a limit on its length and
//! on the time it takes.

use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::boot_clock::BootInstant;

/// No rule of a firewall is as long as that.
const LONGEST_LINE: usize = 1 << 20;
/// What a program says on standard error is for people.
const STDERR: usize = 64 << 10;

/// How much a program may say, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its end.
    pub time: Duration,
    /// Bytes on standard output and standard error together.
    pub bytes: u64,
}

/// For a program that says little: a version, a complaint.
pub const LITTLE: Limits = Limits { time: Duration::from_secs(30), bytes: 1 << 20 };
/// For one that says little and may take its time: loading modules on a slow machine.
pub const PATIENT: Limits = Limits { time: Duration::from_secs(150), bytes: 1 << 20 };

impl Limits {
    /// For what a host holds of so many Services: 30 s and 64 MiB at least, 10 minutes and 1 GiB at most, which 10,000 have.
    pub fn for_services(services: usize) -> Self {
        let services = u64::try_from(services).unwrap_or(u64::MAX).min(10_000);
        Self {
            time: Duration::from_millis(30_000 + services * 57),
            bytes: (64 << 20) + services * (((1 << 30) - (64 << 20)) / 10_000),
        }
    }
}

/// How a program ended that ended within its limits.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its standard error, trimmed; only the first 64 KiB.
    pub stderr: String,
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
}

/// Runs `command` with `input` and hands each line of its output to `each`, without the end of the line; bytes that are not
/// UTF-8 are replaced. It runs with no privileges to gain, in a process group of its own that ends with it or a limit.
///
/// # Errors
/// When it could not be run at all, or reached a limit: then what it said is not to be used.
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

/// The same for a program of the host that may gain privileges: under SELinux, the domain in which modprobe may load modules.
///
/// # Errors
/// As [`run`].
pub fn run_with_privileges(
    mut command: Command,
    input: Option<&str>,
    limits: Limits,
    each: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
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
    let mut pipes = Pipes {
        stdin: running.child.stdin.take().map(|stdin| (stdin, input.unwrap_or_default().as_bytes())),
        stdout: running.child.stdout.take(),
        stderr: running.child.stderr.take(),
        line: Vec::new(),
        said: Vec::new(),
        left: limits.bytes,
    };
    let from = BootInstant::now();
    pipes.set_nonblocking()?;
    while !pipes.are_closed() {
        let left = limits.time.saturating_sub(from.elapsed());
        if left.is_zero() {
            return Err(over_time(limits));
        }
        pipes.wait(left)?;
        pipes.exchange(limits, each)?;
    }
    pipes.last_line(each);
    // It may have closed its output and go on.
    loop {
        if let Some(status) = running.child.try_wait()? {
            running.end_group();
            running.ended = true;
            let stderr = String::from_utf8_lossy(&pipes.said).trim().to_owned();
            return Ok(Ended { stderr, status });
        }
        if from.elapsed() >= limits.time {
            return Err(over_time(limits));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn over_time(limits: Limits) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("it did not end within {:?}, and was stopped", limits.time))
}

/// A program that does not outlive this value.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    /// What is left of the program's group, which may have ended by itself.
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

struct Pipes<'a> {
    stdin: Option<(ChildStdin, &'a [u8])>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The line that is not whole yet.
    line: Vec<u8>,
    said: Vec<u8>,
    left: u64,
}

impl Pipes<'_> {
    fn set_nonblocking(&self) -> io::Result<()> {
        let descriptors = [
            self.stdin.as_ref().map(|(stdin, _)| stdin.as_fd()),
            self.stdout.as_ref().map(std::os::fd::AsFd::as_fd),
            self.stderr.as_ref().map(std::os::fd::AsFd::as_fd),
        ];
        for descriptor in descriptors.into_iter().flatten() {
            fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    fn are_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    fn wait(&self, left: Duration) -> io::Result<()> {
        let mut wanted = Vec::new();
        wanted.extend(self.stdin.as_ref().map(|(stdin, _)| PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)));
        wanted.extend(self.stdout.as_ref().map(|stdout| PollFd::new(stdout.as_fd(), PollFlags::POLLIN)));
        wanted.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr.as_fd(), PollFlags::POLLIN)));
        match poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// As much as goes without waiting.
    fn exchange(&mut self, limits: Limits, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        if let Some((stdin, rest)) = &mut self.stdin {
            match stdin.write(rest) {
                Ok(written) => *rest = &rest[written..],
                Err(error) if is_later(&error) => {}
                // A program that ends without reading says why in its own words.
                Err(_) => *rest = &[],
            }
            if rest.is_empty() {
                self.stdin = None;
            }
        }
        let mut some = vec![0; 1 << 16];
        while let Some(read) = some_of(&mut self.stdout, &mut some)? {
            self.count(read, limits)?;
            self.lines(&some[..read], each)?;
        }
        while let Some(read) = some_of(&mut self.stderr, &mut some)? {
            self.count(read, limits)?;
            let room = STDERR.saturating_sub(self.said.len());
            self.said.extend_from_slice(&some[..read.min(room)]);
        }
        Ok(())
    }

    fn count(&mut self, read: usize, limits: Limits) -> io::Result<()> {
        let left = self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX));
        let over = || {
            io::Error::new(
                ErrorKind::FileTooLarge,
                format!("it said more than {} MiB, and was stopped", limits.bytes >> 20),
            )
        };
        self.left = left.ok_or_else(over)?;
        Ok(())
    }

    fn lines(&mut self, mut text: &[u8], each: &mut dyn FnMut(&str)) -> io::Result<()> {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&text[..end]);
            text = &text[end + 1..];
            self.last_line(each);
        }
        self.line.extend_from_slice(text);
        if self.line.len() > LONGEST_LINE {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "it said a line of more than 1 MiB, and was stopped"));
        }
        Ok(())
    }

    fn last_line(&mut self, each: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            each(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How much was read; nothing if nothing is there now, or will ever be again.
fn some_of(stream: &mut Option<impl Read>, some: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(open) = stream else { return Ok(None) };
    match open.read(some) {
        Ok(0) => {
            *stream = None;
            Ok(None)
        }
        Ok(read) => Ok(Some(read)),
        Err(error) if is_later(&error) => Ok(None),
        Err(error) => Err(error),
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
        // More than a pipe holds, both ways, and an input that is not read.
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
        assert_eq!(line.unwrap_err().kind(), ErrorKind::FileTooLarge, "a line without an end");
    }

    #[test]
    fn limits_grow_with_the_number_of_services() {
        assert_eq!(Limits::for_services(0), Limits { time: Duration::from_secs(30), bytes: 64 << 20 });
        let most = Limits::for_services(10_000);
        assert!(most.time == Duration::from_secs(600) && most.bytes <= 1 << 30 && most.bytes > (1 << 30) - 10_000);
        assert_eq!(Limits::for_services(usize::MAX), most);
    }
}
