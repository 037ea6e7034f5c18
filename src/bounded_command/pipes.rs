//! A program's input and output: non-blocking, line by line, within a limit.

use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::limits::Limits;

/// Longer than any firewall rule.
const LONGEST_LINE: usize = 1 << 20;
/// How much of standard error is kept for messages.
const STDERR: usize = 64 << 10;
/// How much is read at a time: most programs say little, and a large buffer costs more than reading twice.
const AT_A_TIME: usize = 16 << 10;

/// Where the output goes.
pub(super) struct Ear<'a> {
    /// Each line of its standard output.
    pub(super) line: &'a mut dyn FnMut(&str),
    /// Its standard error, as it comes.
    pub(super) error: &'a mut dyn FnMut(&[u8]),
}

/// The three pipes of a running program.
pub(super) struct Pipes<'a> {
    stdin: Option<(ChildStdin, &'a [u8])>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The line that is not complete yet.
    line: Vec<u8>,
    said: Vec<u8>,
    left: u64,
    /// What is read at a time.
    some: Vec<u8>,
}

impl<'a> Pipes<'a> {
    /// The pipes of `child`, with `input` for its standard input and a limit for its output in bytes.
    ///
    /// # Errors
    /// If they cannot be made non-blocking.
    pub(super) fn of(child: &mut Child, input: Option<&'a str>, bytes: u64) -> io::Result<Self> {
        let pipes = Self {
            stdin: child.stdin.take().map(|stdin| (stdin, input.unwrap_or_default().as_bytes())),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            line: Vec::new(),
            said: Vec::new(),
            left: bytes,
            some: vec![0; AT_A_TIME],
        };
        pipes.set_nonblocking()?;
        Ok(pipes)
    }

    /// Its standard error, trimmed; only the first 64 KiB.
    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }

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

    /// Whether there will be no more output.
    pub(super) fn are_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Waits until one of them is readable or writable, or the time is over.
    pub(super) fn wait(&self, left: Duration) -> io::Result<()> {
        let mut wanted = Vec::new();
        wanted.extend(self.stdin.as_ref().map(|(stdin, _)| PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)));
        wanted.extend(self.stdout.as_ref().map(|stdout| PollFd::new(stdout.as_fd(), PollFlags::POLLIN)));
        wanted.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr.as_fd(), PollFlags::POLLIN)));
        match poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads and writes as much as is possible without blocking.
    pub(super) fn exchange(&mut self, limits: Limits, ear: &mut Ear<'_>) -> io::Result<()> {
        if let Some((stdin, rest)) = &mut self.stdin {
            match stdin.write(rest) {
                Ok(written) => *rest = &rest[written..],
                Err(error) if is_later(&error) => {}
                // A program that exits without reading its input explains that itself.
                Err(_) => *rest = &[],
            }
            if rest.is_empty() {
                self.stdin = None;
            }
        }
        let mut some = std::mem::take(&mut self.some);
        while let Some(read) = some_of(&mut self.stdout, &mut some)? {
            self.count(read, limits)?;
            self.lines(&some[..read], ear)?;
        }
        while let Some(read) = some_of(&mut self.stderr, &mut some)? {
            self.count(read, limits)?;
            (ear.error)(&some[..read]);
            let room = STDERR.saturating_sub(self.said.len());
            self.said.extend_from_slice(&some[..read.min(room)]);
        }
        self.some = some;
        Ok(())
    }

    fn count(&mut self, read: usize, limits: Limits) -> io::Result<()> {
        let left = self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX));
        let over = || {
            io::Error::new(
                ErrorKind::FileTooLarge,
                format!("its output exceeded {} MiB and it was stopped", limits.bytes >> 20),
            )
        };
        self.left = left.ok_or_else(over)?;
        Ok(())
    }

    fn lines(&mut self, mut text: &[u8], ear: &mut Ear<'_>) -> io::Result<()> {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&text[..end]);
            text = &text[end + 1..];
            self.last_line(ear);
        }
        self.line.extend_from_slice(text);
        if self.line.len() > LONGEST_LINE {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                "its output had a line of more than 1 MiB and it was stopped",
            ));
        }
        Ok(())
    }

    /// Passes on an incomplete line at its end or at the end of the output.
    pub(super) fn last_line(&mut self, ear: &mut Ear<'_>) {
        if !self.line.is_empty() {
            (ear.line)(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The number of bytes read; `None` if there is nothing to read now, or the stream has ended.
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
