//! A command that is driven from afar: by `exec`, through an API server, a kubelet, and what lies between.

use std::io::{Write, stderr, stdin};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit_code::Exit;

/// Says on standard error, that often, that this process is at work, so that nothing on the way takes a long wait for a
/// dead connection. When standard input ends nobody waits for the answer any more: the process ends, and with it the node's
/// lock, which would refuse whoever comes next. Every command may be killed at any instant.
pub(super) fn start(every: Duration) -> anyhow::Result<()> {
    let beating = move || {
        beat(stdin().as_fd(), stderr(), every);
        let _ = writeln!(
            stderr(),
            "error: standard input ended, as if nobody waited for the answer: stopped half way; run it again"
        );
        std::process::exit(Exit::Failed as i32);
    };
    std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(beating)
        .context("starting the heartbeat")
        .map(|_| ())
}

/// Until the other end of `input` is closed. What can be read from it is left for others.
fn beat(input: BorrowedFd<'_>, mut output: impl Write, every: Duration) {
    let every = PollTimeout::try_from(every).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(input, PollFlags::empty())], every) {
            // Who does not listen to it may still want the answer.
            Ok(0) => _ = output.write_all(b"\n"),
            Err(Errno::EINTR) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};

    use super::*;

    #[test]
    fn beats_until_the_input_ends() {
        let (input, mut sender) = pipe().expect("a pipe");
        let (mut heard, output) = pipe().expect("a pipe");
        sender.write_all(b"for somebody else\n").expect("written");
        let beating = std::thread::spawn(move || {
            beat(input.as_fd(), output, Duration::from_millis(5));
            input
        });
        heard.read_exact(&mut [0; 3]).expect("three beats");
        drop(sender);
        let mut left = String::new();
        beating.join().expect("it ended").read_to_string(&mut left).expect("text");
        assert_eq!(left, "for somebody else\n");
    }
}
