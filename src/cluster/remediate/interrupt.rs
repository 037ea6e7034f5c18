//! Ctrl-C, SIGTERM and SIGHUP: the first signal stops at the next safe point, the second one immediately.

use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit_code::Exit;
use crate::report::say::{say, say_interrupted};

/// The signals that stop a run. A signal that is ignored at the start stays ignored: nohup ignores SIGHUP, a shell ignores
/// SIGINT of background jobs.
pub struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| ignored & (1 << (kind.as_raw_value() - 1)) == 0);
        heard.map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<_>>().map(Self)
    }

    /// Waits for a signal; returns whether it was SIGHUP.
    pub async fn received(&mut self) -> bool {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (_, at, _) = select_all(self.0.iter_mut().map(|(_, signal)| Box::pin(signal.recv()))).await;
        self.0[at].0 == SignalKind::hangup()
    }
}

/// The ignored signals of this process, as bits (`SigIgn` in `proc_pid_status(5)`).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether the run was interrupted.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts listening.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            loop {
                // Closing a terminal causes several signals: from the kernel and from the shell.
                if signals.received().await && *sender.borrow() {
                    continue;
                }
                if *sender.borrow() {
                    say_interrupted("stopped immediately; run again to see the state and continue");
                    std::process::exit(Exit::Interrupted as i32);
                }
                say("stopping after the nodes in progress; press Ctrl-C again to stop immediately");
                sender.send_replace(true);
            }
        });
        Ok(Self(receiver))
    }

    /// Returns once the run was interrupted.
    pub async fn asked(&self) {
        let mut asked = self.0.clone();
        // The sender lives as long as the program.
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the run was interrupted.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}
