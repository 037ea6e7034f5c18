//! Allows one run at a time: a Lease in kube-proxy's namespace, renewed during the run, checked before every write.
//!
//! A run that finds the Lease held watches it for one lease duration by its own clock: if it is renewed, the holder is alive;
//! if not, the Lease is taken over. Clocks of different machines are never compared. The holder stops acting at two thirds
//! of that time, before another run may take over (as in client-go's leader election: `LeaseDuration` 15 s, `RenewDeadline`
//! 10 s, tools/leaderelection).
//!
//! A process can be suspended between checking and sending, which no lock prevents. So every write also contains the UID or
//! resourceVersion that was read before the check, and the node helper's `DaemonSet`, for which that is not possible, is
//! owned by this Lease (ownerReferences). The Lease is deleted at the end of a run, so an object that a suspended run creates
//! later is removed by Kubernetes' garbage collector.

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

/// How long the API server may be unavailable until the lock counts as lost: as long as any other call is retried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Limit for waiting for another run's Lease, whatever its duration.
const LONGEST: Duration = Duration::from_secs(300);
/// Delay between two tries to renew.
const PAUSE: Duration = Duration::from_millis(500);

/// A lock, held until it is released or lost.
#[derive(Clone)]
pub struct Lock(Arc<Held>);

impl Lock {
    /// Takes the lock; waits one lease duration if another run seems to hold it.
    ///
    /// # Errors
    /// A failed check (exit status 3) with the holder's name if another run is in progress, and errors of the API server.
    /// Nothing was changed then.
    pub async fn take(client: &kube::Client, namespace: &str, duration: Duration) -> anyhow::Result<Self> {
        // The Lease has whole seconds.
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
                        // After a broken connection, this run may already hold it.
                        _ if other.is_empty() || other == holder => {}
                        None => {
                            say(&format!("{other} holds the lock; waiting {patience:?} to see whether it is renewed"));
                            watched = Some((version, at));
                            continue;
                        }
                        Some((first, since)) if *first == version && since.elapsed() < patience => {
                            tokio::time::sleep(patience / 20).await;
                            continue;
                        }
                        Some((first, _)) if *first == version => {
                            if taking.is_none() {
                                say(&format!("{other} has not renewed the lock for {patience:?}; taking it over"));
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
                // Another run was faster, or a broken connection hides that this one succeeded: check again.
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

    /// Whether another run held it at first, so that what was observed before may be out of date.
    pub fn was_contended(&self) -> bool {
        self.0.contended
    }

    /// Checks, right before every write, that this run still holds the lock for at least another third of the lease's
    /// duration. Renews it first if the last renewal is too old.
    ///
    /// # Errors
    /// [`Lost`], from then on: another run holds it, or the API server did not answer in time.
    pub async fn ask(&self) -> Result<(), Lost> {
        let held = &self.0;
        if held.is_fresh()? {
            return Ok(());
        }
        let mut version = held.version.lock().await;
        let from = BootInstant::now();
        loop {
            // Another caller may have renewed it since.
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

    /// Publishes the progress of this run in the Lease.
    pub fn tell_progress(&self, progress: String) {
        *self.0.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(progress);
    }

    /// Why it was lost, if it was.
    pub fn lost(&self) -> Option<&Lost> {
        self.0.lost.get()
    }

    /// The lease duration.
    pub fn duration(&self) -> Duration {
        self.0.duration
    }

    /// The identity of this run.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// How long no other run can take it over, even without renewal.
    pub fn left(&self) -> Duration {
        self.0.duration.saturating_sub(self.0.renewed().elapsed())
    }

    /// The owner reference for objects that are garbage-collected with this Lease.
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            name: NAME.to_owned(),
            uid: self.0.uid.clone(),
            ..OwnerReference::default()
        }
    }

    /// Releases the lock, so that the next run does not wait. After a failure the next run waits one lease duration.
    pub async fn release(self) {
        let held = &self.0;
        if let Some(renewal) = held.renewal.get() {
            renewal.abort();
        }
        // Waits for a renewal in progress.
        let mut version = held.version.lock().await;
        if held.lost.get().is_some() {
            return;
        }
        // An aborted renewal may have been stored, with a newer resourceVersion.
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
