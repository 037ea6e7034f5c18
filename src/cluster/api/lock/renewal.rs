//! A Lease held by this run: renewed in the background until it is released or lost.

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

/// The lock was lost; nothing may be changed any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock was lost: {0}")]
pub struct Lost(String);

/// A Lease of this run and its known state.
pub(super) struct Held {
    pub(super) api: Api<Lease>,
    /// namespace/name
    pub(super) place: String,
    pub(super) holder: String,
    pub(super) uid: String,
    pub(super) duration: Duration,
    /// When the last successful renewal was sent.
    pub(super) renewed: std::sync::Mutex<BootInstant>,
    /// The Lease's resourceVersion after it. Locked during a renewal.
    pub(super) version: Mutex<String>,
    pub(super) lost: OnceLock<Lost>,
    pub(super) renewal: OnceLock<JoinHandle<()>>,
    /// Whether another run held it at first.
    pub(super) contended: bool,
    /// When this run acquired it.
    pub(super) acquired: Option<MicroTime>,
    /// The progress of this run, published with the next renewal.
    pub(super) progress: std::sync::Mutex<Option<String>>,
}

/// The result of a try to renew.
pub(super) enum Renewal {
    Done,
    Lost(String),
    /// No answer, or an inconclusive one.
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
    /// Renews it after each third of its duration.
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
                    // It is checked again before the next write.
                    Ok(Renewal::Unknown(why)) => tracing::debug!("renewing the lock: {why}"),
                    Err(_) => tracing::debug!("renewing the lock: no answer"),
                }
            }
        });
        // It is set once, by the function that created it.
        let _ = self.renewal.set(renewal);
    }

    /// Whether it was renewed recently enough to be used.
    pub(super) fn is_fresh(&self) -> Result<bool, Lost> {
        match self.lost.get() {
            Some(lost) => Err(lost.clone()),
            None => Ok(self.renewed().elapsed() < self.duration * 2 / 3),
        }
    }

    /// When the last successful renewal was sent.
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
        // Changed since: by another run, or by a renewal of this run whose answer was lost. The holder's name is unique to a
        // run, so if it is still there, no other run has held the lock.
        match self.api.get_opt(NAME).await {
            Ok(Some(lease)) if self.is_held(&lease) => {
                *version = lease.resource_version().unwrap_or_default();
                Renewal::Unknown(format!("Lease {} keeps changing", self.place))
            }
            Ok(Some(lease)) => {
                let other = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
                Renewal::Lost(format!("{other} has taken over Lease {}", self.place))
            }
            Ok(None) => {
                Renewal::Lost(format!("Lease {} was deleted: another run took it over and has ended", self.place))
            }
            Err(error) => Renewal::Unknown(format!("reading Lease {}: {}", self.place, plain(&error))),
        }
    }

    /// Whether this run still holds this Lease.
    pub(super) fn is_held(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        holder == Some(&self.holder) && lease.uid().as_ref() == Some(&self.uid)
    }

    /// Marks it as lost.
    pub(super) fn lose(&self, why: String) -> Lost {
        self.lost.get_or_init(|| Lost(why)).clone()
    }
}
