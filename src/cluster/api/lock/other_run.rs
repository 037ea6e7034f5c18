//! Detects whether another run holds the lock, without taking it.
//!
//! Clocks of different machines are never compared: a Lease that is renewed while it is watched belongs to a live run, as
//! in [`crate::cluster::api::lock`]. A run renews it after each third of its duration.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::Api;
use serde::Serialize;

use super::lease::{NAME, PROGRESS, seconds};
use crate::boot_clock::BootInstant;
use crate::cluster::api::calls::get;
use crate::cluster::api::errors::{code, plain};
use crate::cluster::api::patience::patiently;
use crate::report::foreign::foreign;

/// Limit for watching a Lease, whatever its duration.
const LONGEST: Duration = Duration::from_secs(60);
/// Poll interval.
const PAUSE: Duration = Duration::from_millis(250);

/// Another run, from its Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherRun {
    /// Host, process and start.
    pub holder: String,
    /// When it took the lock, in RFC 3339, by its own clock.
    pub since: Option<String>,
    /// Its progress, such as `node 3 of 50`.
    pub progress: Option<String>,
    /// Whether it renewed the Lease while it was watched; otherwise it was killed, and the next run takes over the lock.
    pub alive: bool,
}

impl OtherRun {
    /// The run that holds the lock of a namespace, if any. An existing Lease is watched until it is renewed, at most for its
    /// own duration.
    ///
    /// # Errors
    /// If the Lease cannot be read, or this user may not read it.
    pub async fn observe(client: &kube::Client, namespace: &str) -> anyhow::Result<Option<Self>> {
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        let watched = Self::watch(&api);
        patiently("the lock to be renewed or free", Some(LONGEST), watched).await.map_err(|error| match code(&error) {
            Some(403) => anyhow::anyhow!(
                "cannot check whether another run is in progress: this user may not get Lease {namespace}/{NAME}"
            ),
            _ => anyhow::anyhow!("reading Lease {namespace}/{NAME}: {}", plain(&error)),
        })
    }

    async fn watch(api: &Api<Lease>) -> kube::Result<Option<Self>> {
        let mut first: Option<(Option<String>, BootInstant)> = None;
        loop {
            let Some(lease) = get(api, NAME).await? else { return Ok(None) };
            let Some(found) = Self::of(&lease) else { return Ok(None) };
            let spec = lease.spec.as_ref();
            let patience = spec.and_then(|spec| spec.lease_duration_seconds).map_or(LONGEST, seconds).min(LONGEST);
            let version = lease.resource_version();
            match &first {
                None => first = Some((version, BootInstant::now())),
                Some((before, _)) if *before != version => return Ok(Some(Self { alive: true, ..found })),
                Some((_, since)) if since.elapsed() >= patience => return Ok(Some(found)),
                Some(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn of(lease: &Lease) -> Option<Self> {
        let spec = lease.spec.as_ref()?;
        let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
        Some(Self {
            holder: foreign(holder),
            since: spec.acquire_time.as_ref().map(|time| time.0.to_string()),
            progress: lease.annotations().get(PROGRESS).map(|progress| foreign(progress)),
            alive: false,
        })
    }

    /// `holder, since …, node 3 of 50`
    pub fn words(&self) -> String {
        let since = self.since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
        let progress = self.progress.as_ref().map(|progress| format!(", {progress}")).unwrap_or_default();
        format!("{}{since}{progress}", self.holder)
    }
}
