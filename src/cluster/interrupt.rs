//! Ctrl-C and SIGTERM: the first asks to stop at the next safe point, the second stops at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::progress::say;
use crate::exit_code::Exit;

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
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if *sender.borrow() {
                    say("stopped at once; run again to see what stands and go on");
                    std::process::exit(Exit::Interrupted as i32);
                }
                say("stopping after the pods in flight; once more stops at once");
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
