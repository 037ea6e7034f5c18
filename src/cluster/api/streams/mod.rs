//! Streams to nodes through the API server, for exec and port-forward: a bounded number at a time, and fewer while the API
//! server, or konnectivity behind it, refuses more. A refused stream is opened again later; it says nothing about its node.

mod refusals;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::calls::asked_for;
use super::errors::plain;
use crate::boot_clock::BootInstant;
use crate::report::say::still_waiting;
pub use refusals::is_about_all;
use refusals::{is_refusal, names_upgrade};
pub use window::AT_A_TIME;
use window::Window;

/// Delay before a refused stream is opened again; doubled each time, up to the longest.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// After this many refusals of a stream, if [`AT_A_TIME`] others were opened and none was refused, its node is the cause. Where the
/// answer may be the kubelet's own, one other is enough, and after twice as many refusals one at any time.
const ITS_OWN: usize = 5;

/// Why a stream could not be opened.
#[derive(Debug)]
pub enum Unopened {
    /// The answer of the API server, or of something in front of it.
    Answered(kube::Error),
    /// Another reason; it is not tried again.
    Failed(String),
}

impl From<kube::Error> for Unopened {
    fn from(error: kube::Error) -> Self {
        Self::Answered(error)
    }
}

/// The streams of a connection.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    window: Mutex<Window>,
    freed: Notify,
}

/// The right to have a stream open; returned when dropped.
#[derive(Debug)]
pub struct Turn {
    streams: Streams,
    begun: usize,
    /// Whether a stream was opened and not refused afterwards.
    opened: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut window = self.streams.window();
            window.open -= 1;
            if self.opened {
                window.succeeded();
            }
        }
        self.streams.0.freed.notify_one();
    }
}

impl Streams {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.0.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> Turn {
        loop {
            {
                let mut window = self.window();
                if window.open < window.limit {
                    window.open += 1;
                    // Several may have been freed while nobody was waiting.
                    if window.open < window.limit {
                        self.0.freed.notify_one();
                    }
                    return Turn { streams: self.clone(), begun: window.halved, opened: false };
                }
            }
            self.0.freed.notified().await;
        }
    }

    /// Opens a stream when it is its turn, and again while it is refused, for as long as `refusals` allows. The stream may
    /// stay open as long as its [`Turn`] is kept.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn open<T>(
        &self,
        refusals: &mut Refusals,
        open: impl AsyncFn() -> Result<T, Unopened>,
    ) -> Result<(T, Turn), NotOpened> {
        loop {
            let mut turn = self.turn().await;
            let error = match open().await {
                Ok(stream) => {
                    turn.opened = true;
                    return Ok((stream, turn));
                }
                Err(Unopened::Failed(why)) => return Err(NotOpened::Failed(why)),
                Err(Unopened::Answered(error)) if !is_refusal(&error) => return Err(NotOpened::Failed(plain(&error))),
                Err(Unopened::Answered(error)) => error,
            };
            let asked = asked_for(&error);
            self.refused(turn, refusals, &plain(&error), asked).await?;
        }
    }

    /// Waits after a stream was refused; `asked`: at least so long.
    ///
    /// # Errors
    /// It was refused for too long.
    pub async fn refused(
        &self,
        mut turn: Turn,
        refusals: &mut Refusals,
        why: &str,
        asked: Duration,
    ) -> Result<(), NotOpened> {
        turn.opened = false;
        {
            let mut window = self.window();
            let first = *refusals.opened.get_or_insert(window.total);
            let others = refusals.times > 0 && window.refusals > refusals.seen;
            // Of a node that is down, 502 to 504 are no news about the others; nor is a stream that alone is refused again.
            if !refusals.patience.is_zero() && (refusals.times == 0 || others) {
                window.refused(turn.begun);
            }
            window.refusals += 1;
            refusals.times += 1;
            refusals.seen = window.refusals;
            refusals.alone &= !others;
            // Others were opened and none was refused: the cause is this node.
            let others_opened = if names_upgrade(why) {
                window.total > first || window.total > 0 && refusals.times > 2 * ITS_OWN
            } else {
                window.total >= first + AT_A_TIME
            };
            if refusals.alone && refusals.times > ITS_OWN && others_opened {
                return Err(NotOpened::Failed(why.to_owned()));
            }
        }
        drop(turn);
        if refusals.since.get_or_insert_with(BootInstant::now).elapsed() >= refusals.patience {
            let time = refusals.patience;
            let time = if time.is_zero() { String::new() } else { format!(" for {time:?}") };
            return Err(NotOpened::Refused(format!("the API server refused the connection{time}: {why}")));
        }
        still_waiting(&format!("the API server to accept connections to nodes ({why})"), None);
        tracing::info!("connection to a node refused: {why}; trying again in {:?}", refusals.delay.max(asked));
        tokio::time::sleep(refusals.delay.max(asked)).await;
        refusals.delay = (refusals.delay * 2).min(LONGEST_DELAY);
        Ok(())
    }
}

/// How long refusals are waited out, and how often there were some.
#[derive(Clone, Copy, Debug)]
pub struct Refusals {
    patience: Duration,
    since: Option<BootInstant>,
    delay: Duration,
    times: usize,
    /// Number of refusals in all, of any stream, at its last one.
    seen: usize,
    /// Whether no other stream was refused since its first one.
    alone: bool,
    /// Number of streams that had been opened in all at the first refusal.
    opened: Option<usize>,
}

impl Refusals {
    /// None yet; they are waited out for this long from the first one on. Zero: the first one is the end, and no reason to
    /// open fewer streams.
    pub fn within(patience: Duration) -> Self {
        Self { patience, since: None, delay: FIRST_DELAY, times: 0, seen: 0, alone: true, opened: None }
    }
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The API server, or something behind it, refused for too long; nothing is known about the node.
    Refused(String),
    /// Another reason.
    Failed(String),
}

impl NotOpened {
    /// The reason.
    pub fn into_reason(self) -> String {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    /// A server that accepts eight streams at a time.
    #[tokio::test]
    async fn everything_is_opened_in_the_end() {
        let (streams, now, most, refusals) =
            (Streams::default(), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let one = async || {
            let mut refusals_for_a_minute = Refusals::within(Duration::from_secs(60));
            let opened = streams.open(&mut refusals_for_a_minute, async || {
                most.fetch_max(now.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
                if now.fetch_add(1, Ordering::SeqCst) < 8 {
                    return Ok(());
                }
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                refusals.fetch_add(1, Ordering::SeqCst);
                Err(api(503, "busy").into())
            });
            let ((), turn) = opened.await.expect("it is opened in the end");
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            drop(turn);
        };
        futures::future::join_all((0..300).map(|_| one())).await;
        let refusals = refusals.into_inner();
        assert!((1..300).contains(&refusals), "{refusals} refusals");
        assert!(most.into_inner() <= AT_A_TIME);
        assert_eq!(streams.window().open, 0);
        // One node's own trouble: the others go on, as many at a time as before.
        let limit = streams.window().limit;
        let one = async || {
            let mut refusals = Refusals::within(Duration::from_secs(60));
            streams.open(&mut refusals, async || Err::<(), _>(api(503, "this node").into())).await.map(|_| ())
        };
        let others = async {
            for _ in 0..400 {
                let mut refusals = Refusals::within(Duration::from_secs(60));
                let opened = streams.open(&mut refusals, async || Ok(())).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(opened);
            }
        };
        let (failed, ()) = futures::join!(one(), others);
        assert_eq!(failed, Err(NotOpened::Failed("this node".to_owned())));
        assert!(streams.window().limit >= limit / 2, "{:?}", streams.window());
        // From 1.30 on the API server puts these words before whatever the kubelet answered.
        let mut refusals = Refusals::within(Duration::from_secs(60));
        let its_own = async || Err::<(), _>(api(500, "unable to upgrade connection: container runtime is down").into());
        let other = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut refusals = Refusals::within(Duration::ZERO);
            drop(streams.open(&mut refusals, async || Ok(())).await);
        };
        let (failed, ()) = futures::join!(streams.open(&mut refusals, its_own), other);
        assert!(matches!(failed.map(|_| ()), Err(NotOpened::Failed(_))), "another was opened since");
        let mut refusals = Refusals::within(Duration::from_secs(1));
        let failed = Streams::default().open(&mut refusals, its_own).await.map(|_| ());
        assert!(matches!(failed, Err(NotOpened::Refused(_))), "no other was opened: {failed:?}");
        let mut at_once = Refusals::within(Duration::ZERO);
        let failed = streams.open(&mut at_once, async || Err::<(), _>(api(503, "busy").into())).await;
        assert!(matches!(failed.map(|_| ()), Err(NotOpened::Refused(why)) if why.ends_with(": busy")));
    }
}
