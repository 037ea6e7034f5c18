//! A Lease that this run holds: renewed in the background, until it is given back or lost.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::lease::{NAME, PROGRESS, fresh};
use crate::boot_clock::BootInstant;
use crate::cluster::api::errors::{code, plain};

/// The lock was lost: nothing more may be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock was lost: {0}")]
pub struct Lost(String);

/// A Lease of this run, and what is known of it.
pub(super) struct Held {
    pub(super) api: Api<Lease>,
    /// namespace/name
    pub(super) place: String,
    pub(super) holder: String,
    pub(super) uid: String,
    pub(super) duration: Duration,
    /// When the last renewal that succeeded was sent.
    pub(super) renewed: std::sync::Mutex<BootInstant>,
    /// The Lease's resourceVersion after it. Held while it is renewed.
    pub(super) version: Mutex<String>,
    pub(super) lost: OnceLock<Lost>,
    pub(super) renewal: OnceLock<JoinHandle<()>>,
    /// Whether another run held it when this one came.
    pub(super) contended: bool,
    /// When this run took it.
    pub(super) acquired: Option<MicroTime>,
    /// How far this run is; the Lease says it from its next renewal on.
    pub(super) progress: std::sync::Mutex<Option<String>>,
}

/// What one try of renewing came to.
pub(super) enum Renewal {
    Done,
    Lost(String),
    /// No answer, or none that tells.
    Unknown(String),
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.abort();
        }
    }
}

impl Held {
    /// Renews it at each third of its time.
    pub(super) fn keep_renewing(self: &Arc<Self>) {
        let held = Arc::downgrade(self);
        let pause = self.duration / 3;
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(held) = held.upgrade() else { return };
                let mut version = held.version.lock().await;
                match tokio::time::timeout(pause, held.renew(&mut version)).await {
                    Ok(Renewal::Done) => {}
                    Ok(Renewal::Lost(why)) => {
                        held.lose(why);
                        return;
                    }
                    // What has to be known is asked again before the next write.
                    Ok(Renewal::Unknown(why)) => tracing::debug!("renewing the lock: {why}"),
                    Err(_) => tracing::debug!("renewing the lock: no answer"),
                }
            }
        });
        // It is set once, by the function that made it.
        let _ = self.renewal.set(renewal);
    }

    /// Whether it was renewed so lately that it may be used.
    pub(super) fn is_fresh(&self) -> Result<bool, Lost> {
        match self.lost.get() {
            Some(lost) => Err(lost.clone()),
            None => Ok(self.renewed().elapsed() < self.duration * 2 / 3),
        }
    }

    /// When the last renewal that succeeded was sent.
    pub(super) fn renewed(&self) -> std::sync::MutexGuard<'_, BootInstant> {
        self.renewed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One try.
    pub(super) async fn renew(&self, version: &mut String) -> Renewal {
        let at = BootInstant::now();
        let mut lease = fresh(&self.holder, self.duration);
        lease.metadata.resource_version = Some(version.clone());
        lease.metadata.uid = Some(self.uid.clone());
        let progress = self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        lease.metadata.annotations = progress.map(|progress| BTreeMap::from([(PROGRESS.to_owned(), progress)]));
        if let Some(spec) = &mut lease.spec {
            spec.acquire_time.clone_from(&self.acquired);
        }
        match self.api.replace(NAME, &PostParams::default(), &lease).await {
            Ok(lease) => {
                *version = lease.resource_version().unwrap_or_default();
                *self.renewed() = at;
                return Renewal::Done;
            }
            Err(error) if matches!(code(&error), Some(404 | 409 | 422)) => {}
            Err(error) => return Renewal::Unknown(format!("renewing Lease {}: {}", self.place, plain(&error))),
        }
        // Changed since: by another run, or by a renewal of this one whose answer was lost. As the holder's name is of one
        // run only, its name there means that no other run has had the lock.
        match self.api.get_opt(NAME).await {
            Ok(Some(lease)) if self.is_held(&lease) => {
                *version = lease.resource_version().unwrap_or_default();
                Renewal::Unknown(format!("Lease {} changes all the time", self.place))
            }
            Ok(Some(lease)) => {
                let other = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
                Renewal::Lost(format!("{other} has taken over Lease {}", self.place))
            }
            Ok(None) => Renewal::Lost(format!("Lease {} is gone: another run took it over and has ended", self.place)),
            Err(error) => Renewal::Unknown(format!("reading Lease {}: {}", self.place, plain(&error))),
        }
    }

    /// Whether this Lease is still this run's.
    pub(super) fn is_held(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        holder == Some(&self.holder) && lease.uid().as_ref() == Some(&self.uid)
    }

    /// From now on it counts as lost.
    pub(super) fn lose(&self, why: String) -> Lost {
        self.lost.get_or_init(|| Lost(why)).clone()
    }
}
