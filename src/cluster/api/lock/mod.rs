//! One run at a time: a Lease beside kube-proxy, renewed while the run lasts, asked before every write.
//!
//! A run that finds the Lease held watches it for one lease duration by its own clock: renewed, and the holder is alive; not
//! renewed, and the Lease is taken over. No two machines' clocks are compared. The holder stops acting at two thirds of that
//! time, so before another run may take over (client-go's leader election does the same: `LeaseDuration` 15 s,
//! `RenewDeadline` 10 s, tools/leaderelection).
//!
//! A process can be frozen between asking and sending; no lock helps against that. So every write also carries the UID or
//! resourceVersion of what was read before asking, and what can carry neither, the node helper's `DaemonSet`, belongs to
//! this Lease (ownerReferences). The Lease is deleted at the end of a run: what a frozen run makes later is collected by
//! Kubernetes' garbage collector.

pub mod guard;
pub mod lease;
pub mod other_run;
mod renewal;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::sync::Mutex;

use super::calls::{get, retried};
use super::errors::{code, is_transient, plain};
use crate::boot_clock::BootInstant;
use crate::exit_code::Refusal;
use crate::report::say::{say, still_waiting};
use lease::{NAME, fresh, identity, seconds};
pub use renewal::Lost;
use renewal::{Held, Renewal};

/// How long an API server that does not answer may take until the lock counts as lost: as long as any other call is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest time that another run's Lease is waited for, whatever it says.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two tries of renewing.
const PAUSE: Duration = Duration::from_millis(500);

/// A lock that is held until it is released or lost.
#[derive(Clone)]
pub struct Lock(Arc<Held>);

impl Lock {
    /// Takes the lock; waits one lease duration where another run seems to hold it.
    ///
    /// # Errors
    /// A refused check (exit status 3) with the holder's name if another run is in progress; and what else the API server
    /// says. Nothing was changed then.
    pub async fn take(client: &kube::Client, namespace: &str, duration: Duration) -> anyhow::Result<Self> {
        // The Lease knows whole seconds.
        let duration = Duration::from_secs(duration.as_secs().max(1));
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        let place = format!("{namespace}/{NAME}");
        let holder = identity();
        let doing = || format!("taking the lock, Lease {place}; nothing was changed");
        let (post, first) = (PostParams::default(), fresh(&holder, duration));
        let mut watched: Option<(String, BootInstant)> = None;
        let mut taking: Option<BootInstant> = None;
        loop {
            still_waiting("the lock to be renewed or free", None);
            let lease = get(&api, NAME).await.with_context(doing)?;
            let at = BootInstant::now();
            let written = match &lease {
                None => retried(|| api.create(&post, &first)).await,
                Some(lease) => {
                    let spec = lease.spec.clone().unwrap_or_default();
                    let other = spec.holder_identity.unwrap_or_default();
                    let version = lease.resource_version().unwrap_or_default();
                    let patience = spec.lease_duration_seconds.map_or(duration, seconds).min(LONGEST);
                    match &watched {
                        // A broken connection may hide that it was taken: then it is ours already.
                        _ if other.is_empty() || other == holder => {}
                        None => {
                            say(&format!("{other} holds the lock; watching for {patience:?} whether it is renewed"));
                            watched = Some((version, at));
                            continue;
                        }
                        Some((first, since)) if *first == version && since.elapsed() < patience => {
                            tokio::time::sleep(patience / 20).await;
                            continue;
                        }
                        Some((first, _)) if *first == version => {
                            if taking.is_none() {
                                say(&format!("{other} has not renewed its lock for {patience:?}: taking it over"));
                            }
                        }
                        Some(_) => {
                            return Err(Refusal::check(format!(
                                "another kpx-prep run is in progress ({other} holds Lease {place}); nothing was changed. Wait for it to finish"
                            )));
                        }
                    }
                    taking.get_or_insert(at);
                    let mut taken = fresh(&holder, duration);
                    taken.metadata.resource_version = lease.resource_version();
                    taken.metadata.uid = lease.uid();
                    api.replace(NAME, &post, &taken).await
                }
            };
            let lease = match written {
                // Another run was quicker, or a broken connection hides that this one was: look again.
                Err(error)
                    if matches!(code(&error), Some(404 | 409))
                        || lease.is_some()
                            && is_transient(&error)
                            && taking.is_some_and(|since| since.elapsed() < PATIENCE) =>
                {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                result => result.with_context(doing)?,
            };
            let held = Held {
                api,
                place,
                holder,
                uid: lease.uid().unwrap_or_default(),
                duration,
                renewed: std::sync::Mutex::new(at),
                version: Mutex::new(lease.resource_version().unwrap_or_default()),
                lost: OnceLock::new(),
                renewal: OnceLock::new(),
                contended: watched.is_some(),
                acquired: lease.spec.as_ref().and_then(|spec| spec.acquire_time.clone()),
                progress: std::sync::Mutex::default(),
            };
            let held = Arc::new(held);
            held.keep_renewing();
            return Ok(Self(held));
        }
    }

    /// Whether another run held it when this one came: what was observed before may be out of date.
    pub fn was_contended(&self) -> bool {
        self.0.contended
    }

    /// Asked right before every write: whether this run still holds the lock, for at least a third of the lease's time to
    /// come. Where the last renewal is older than that, it is renewed first.
    ///
    /// # Errors
    /// [`Lost`], from now on: another run holds it, or the API server did not answer in time.
    pub async fn ask(&self) -> Result<(), Lost> {
        let held = &self.0;
        if held.is_fresh()? {
            return Ok(());
        }
        let mut version = held.version.lock().await;
        let from = BootInstant::now();
        loop {
            // By now another caller may have renewed it.
            if held.is_fresh()? {
                return Ok(());
            }
            match held.renew(&mut version).await {
                Renewal::Done => {}
                Renewal::Unknown(_) if from.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                Renewal::Lost(why) | Renewal::Unknown(why) => return Err(held.lose(why)),
            }
        }
    }

    /// How far this run is, for who looks on.
    pub fn tell_progress(&self, progress: String) {
        *self.0.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(progress);
    }

    /// Why it was lost, if it was.
    pub fn lost(&self) -> Option<&Lost> {
        self.0.lost.get()
    }

    /// How long a holder may go without renewing it.
    pub fn duration(&self) -> Duration {
        self.0.duration
    }

    /// Who holds it: this run.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// How long nobody else can take it over, even if it is not renewed.
    pub fn left(&self) -> Duration {
        self.0.duration.saturating_sub(self.0.renewed().elapsed())
    }

    /// For an object that shall not outlive this Lease.
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            name: NAME.to_owned(),
            uid: self.0.uid.clone(),
            ..OwnerReference::default()
        }
    }

    /// Gives the lock back, so that the next run need not wait. A failure costs the next run one lease duration.
    pub async fn release(self) {
        let held = &self.0;
        if let Some(renewal) = held.renewal.get() {
            renewal.abort();
        }
        // Waits for a renewal that is under way.
        let mut version = held.version.lock().await;
        if held.lost.get().is_some() {
            return;
        }
        // A renewal that was broken off may have been stored: then the version is a newer one.
        for _ in 0..3 {
            let preconditions = Preconditions { uid: Some(held.uid.clone()), resource_version: Some(version.clone()) };
            let params = DeleteParams::default().preconditions(preconditions);
            match retried(|| held.api.delete(NAME, &params)).await {
                Err(error) if code(&error) == Some(409) => {}
                Err(error) if code(&error) != Some(404) => {
                    tracing::debug!("releasing the lock: {}", plain(&error));
                    break;
                }
                _ => break,
            }
            match get(&held.api, NAME).await {
                Ok(Some(lease)) if held.is_held(&lease) => {
                    *version = lease.resource_version().unwrap_or_default();
                }
                _ => break,
            }
        }
        held.lose("it was released".to_owned());
    }
}
