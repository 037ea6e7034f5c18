//! Ctrl-C, SIGTERM and SIGHUP: the first asks to stop at the next safe point, the second stops at once.

use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit_code::Exit;
use crate::report::say::say;

/// The signals that ask to stop. One that was ignored from the start stays ignored: nohup does that to SIGHUP, a shell to the
/// SIGINT of what runs in the background.
pub struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| ignored & (1 << (kind.as_raw_value() - 1)) == 0);
        heard.map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<_>>().map(Self)
    }

    /// Returns when one was received; whether it was SIGHUP.
    pub async fn received(&mut self) -> bool {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (_, at, _) = select_all(self.0.iter_mut().map(|(_, signal)| Box::pin(signal.recv()))).await;
        self.0[at].0 == SignalKind::hangup()
    }
}

/// The signals that this process ignores, a bit each (`SigIgn` in `proc_pid_status(5)`).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether someone asked to stop.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            loop {
                // A terminal that is closed sends several: of the kernel, and of the shell.
                if signals.received().await && *sender.borrow() {
                    continue;
                }
                if *sender.borrow() {
                    say("stopped at once; run again to see the state and go on");
                    std::process::exit(Exit::Interrupted as i32);
                }
                say("stopping after the current batch; press Ctrl-C again to stop immediately");
                sender.send_replace(true);
            }
        });
        Ok(Self(receiver))
    }

    /// Returns once someone has asked to stop.
    pub async fn asked(&self) {
        let mut asked = self.0.clone();
        // The sender lives as long as the program.
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether someone asked to stop.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}
