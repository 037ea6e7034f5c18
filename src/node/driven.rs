//! A command that is run remotely by `exec`, through the API server, the kubelet and any proxies between them.
//!
//! Standard input has one line for the command, if it reads one, followed by lines with one number each: for how many
//! milliseconds from now the command may still act. The driver sends these as long as it holds the cluster's lock.

use std::io::{BufRead, Write, stderr, stdin};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::boot_clock::BootInstant;
use crate::exit_code::Exit;

/// The longest line that is accepted: room for more than 10,000 Services of four ports each.
const LONGEST: usize = 64 << 20;

/// Lines for the command, as opposed to the driver's own.
static INPUT: OnceLock<Mutex<Receiver<String>>> = OnceLock::new();

/// How long the other side may take to read an answer.
const TO_READ: Duration = Duration::from_secs(2);

/// Stays after the answer was printed until the other side, which has read it, closes standard input and so ends this process.
/// A busy API server loses the output of a command that ends at once, and says that it succeeded: its SPDY stream forgets data
/// that was not read when the connection closed (`Stream.Read`, github.com/moby/spdystream).
pub fn linger() {
    std::thread::sleep(TO_READ);
}

/// Writes an empty line to standard error every `heartbeat`, so that no proxy on the way closes the connection as idle. When
/// standard input ends, or the driver has not extended the `lease` in time, the process exits, which releases the node's
/// lock. Every command may be killed at any time.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(heartbeat: Duration, lease: Duration) -> anyhow::Result<()> {
    let (sender, receiver) = channel();
    INPUT.set(Mutex::new(receiver)).ok().context("a command is driven once")?;
    let beating = move || {
        let why =
            Driven { input: stdin().as_fd(), heartbeat, until: (BootInstant::now(), lease), sender }.listen(stderr());
        let _ = writeln!(stderr(), "error: {why}; stopped before finishing. Run again to continue");
        std::process::exit(Exit::Failed as i32);
    };
    std::thread::Builder::new()
        .name("driven".to_owned())
        .spawn(beating)
        .context("starting the heartbeat thread")
        .map(|_| ())
}

/// The line for the command on standard input.
///
/// # Errors
/// If standard input ended or could not be read.
pub fn line() -> std::io::Result<String> {
    let Some(input) = INPUT.get() else {
        let mut line = String::new();
        std::io::Read::take(stdin().lock(), LONGEST as u64).read_line(&mut line)?;
        return Ok(line);
    };
    let input = input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    input.recv().map_err(|_| std::io::ErrorKind::UnexpectedEof.into())
}

/// One end of the connection.
struct Driven<'a> {
    input: BorrowedFd<'a>,
    heartbeat: Duration,
    /// Start and length of the time in which the command may act.
    until: (BootInstant, Duration),
    sender: Sender<String>,
}

impl Driven<'_> {
    /// Listens until the command has to stop; returns the reason.
    fn listen(mut self, mut output: impl Write) -> &'static str {
        let mut said = BootInstant::now();
        let mut text = Vec::new();
        let mut some = vec![0; 1 << 16];
        loop {
            let (since, long) = self.until;
            let left = long.saturating_sub(since.elapsed());
            if left.is_zero() {
                return "the caller stopped renewing the lease and may have lost the lock";
            }
            if said.elapsed() >= self.heartbeat {
                // A closed connection is detected on standard input.
                let _ = output.write_all(b"\n");
                said = BootInstant::now();
            }
            let pause = left.min(self.heartbeat.saturating_sub(said.elapsed()));
            let pause = PollTimeout::try_from(pause.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.input, PollFlags::POLLIN)], pause) {
                Ok(0) | Err(Errno::EINTR) => continue,
                _ => {}
            }
            let new = match nix::unistd::read(self.input, &mut some) {
                Ok(read @ 1..) => &some[..read],
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                _ => return "the connection to the caller was lost",
            };
            text.extend_from_slice(new);
            if text.len() > LONGEST {
                return "a line on standard input is too long";
            }
            // A long line arrives in many pieces.
            if !new.contains(&b'\n') {
                continue;
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                self.hear(&String::from_utf8_lossy(&line[..end]));
            }
        }
    }

    fn hear(&mut self, line: &str) {
        match line.parse() {
            Ok(milliseconds) => self.until = (BootInstant::now(), Duration::from_millis(milliseconds)),
            // It is dropped where the command does not read a line.
            Err(_) => _ = self.sender.send(line.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn beats_and_passes_on_the_input_until_that_ends() {
        let (input, mut driver) = pipe().expect("a pipe");
        let (mut heard, output) = pipe().expect("a pipe");
        let (sender, lines) = channel();
        let beating = std::thread::spawn(move || {
            Driven { input: input.as_fd(), heartbeat: SHORT, until: (BootInstant::now(), LONG), sender }.listen(output)
        });
        driver.write_all(b"[\"for the command\"]\n15000\n").expect("written");
        assert_eq!(lines.recv().expect("a line"), "[\"for the command\"]");
        heard.read_exact(&mut [0; 3]).expect("three beats");
        drop(driver);
        assert_eq!(beating.join().expect("it ended"), "the connection to the caller was lost");
    }

    #[test]
    fn ends_when_its_time_is_over() {
        let (input, mut driver) = pipe().expect("a pipe");
        let (sender, _lines) = channel();
        let from = BootInstant::now();
        let beating = std::thread::spawn(move || {
            Driven { input: input.as_fd(), heartbeat: LONG, until: (BootInstant::now(), LONG), sender }
                .listen(std::io::sink())
        });
        driver.write_all(b"400\n").expect("written");
        std::thread::sleep(Duration::from_millis(200));
        driver.write_all(b"400\n").expect("written");
        assert!(beating.join().expect("it ended").starts_with("the caller stopped renewing"));
        assert!(from.elapsed() >= Duration::from_millis(600), "{:?}", from.elapsed());
    }
}
