//! One run at a time: a Lease beside kube-proxy, renewed while the run lasts.
//!
//! Whoever finds it held watches it for one lease duration by its own clock: renewed, and the holder is at work;
//! not renewed, and it is taken over. No two machines' clocks are compared. As client-go's leader election does it
//! (tools/leaderelection).

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{code, retried};
use crate::exit_code::Refusal;

/// The Lease's name.
pub const NAME: &str = "kpx-prep";

/// A lock that is held until it is released, lost, or not renewed any more.
pub struct Lock {
    api: Api<Lease>,
    holder: String,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
}

impl Lock {
    /// Takes the lock; waits one lease duration where somebody seems to hold it.
    ///
    /// # Errors
    /// A check that says no, with the holder's name, if another run is at work; and what else the API server says.
    pub async fn take(client: &kube::Client, namespace: &str, duration: Duration) -> anyhow::Result<Self> {
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        let holder = identity();
        let doing = || format!("taking the lock, Lease {namespace}/{NAME}; nothing was changed");
        let (post, first) = (PostParams::default(), fresh(&holder, duration));
        let mut seen: Option<(String, Instant)> = None;
        loop {
            let lease = super::api::get(&api, NAME).await.with_context(doing)?;
            let written = match &lease {
                None => match retried(|| api.create(&post, &first)).await {
                    Err(error) if code(&error) == Some(409) => continue,
                    result => result.map(|_| ()),
                },
                Some(lease) => {
                    let other = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                    let version = lease.resource_version().unwrap_or_default();
                    let free = other.is_empty() || other == holder;
                    let patience =
                        lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).map_or(duration, seconds);
                    match &seen {
                        _ if free => {}
                        Some((first, since)) if *first == version => {
                            if since.elapsed() < patience {
                                tokio::time::sleep(patience / 20).await;
                                continue;
                            }
                            crate::cluster::progress::say(&format!(
                                "{other} has not renewed its lock for {patience:?}: taking it over"
                            ));
                        }
                        Some(_) => {
                            return Err(Refusal::check(format!(
                                "another run is at work: {other} holds Lease {namespace}/{NAME} and renews it; nothing was changed; wait for it to end"
                            )));
                        }
                        None => {
                            crate::cluster::progress::say(&format!(
                                "{other} holds the lock; watching whether it is still at work"
                            ));
                            seen = Some((version, Instant::now()));
                            continue;
                        }
                    }
                    let mut taken = fresh(&holder, duration);
                    taken.metadata.resource_version.clone_from(&lease.metadata.resource_version);
                    match api.replace(NAME, &PostParams::default(), &taken).await {
                        // Somebody was quicker, or a broken connection hides that we were: look again.
                        Err(error) if code(&error) == Some(409) || super::api::is_transient(&error) => {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            continue;
                        }
                        result => result.map(|_| ()),
                    }
                }
            };
            written.with_context(doing)?;
            let (sender, lost) = watch::channel(false);
            let renewal = tokio::spawn(renew(api.clone(), holder.clone(), duration, sender));
            return Ok(Self { api, holder, lost, renewal });
        }
    }

    /// Whether somebody else has the lock, or it could not be renewed in time.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Gives the lock back, so that the next run need not wait. A failure costs the next run one lease duration.
    pub async fn release(self) {
        self.renewal.abort();
        let release = || async {
            let Some(mut lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
            match lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.holder)) {
                Some(spec) => spec.holder_identity = Some(String::new()),
                None => return Ok(()),
            }
            self.api.replace(NAME, &PostParams::default(), &lease).await.map(|_| ())
        };
        if let Err(error) = retried(release).await {
            tracing::debug!("releasing the lock: {error}");
        }
    }
}

/// Who is at work under the lock. Where somebody holds it, watches for one lease duration whether it is renewed: a run that
/// was killed holds it too.
///
/// # Errors
/// What the API server says.
pub async fn at_work(client: &kube::Client, namespace: &str) -> kube::Result<Option<String>> {
    let api = Api::<Lease>::namespaced(client.clone(), namespace);
    let held = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty());
    let Some(first) = super::api::get(&api, NAME).await?.filter(|lease| held(lease).is_some()) else {
        return Ok(None);
    };
    let patience = first.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    tokio::time::sleep(seconds(patience)).await;
    let now = super::api::get(&api, NAME).await?.filter(|now| now.resource_version() != first.resource_version());
    Ok(now.as_ref().and_then(held))
}

async fn renew(api: Api<Lease>, holder: String, duration: Duration, lost: watch::Sender<bool>) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(duration / 3).await;
        let attempt = async {
            let mut lease = api.get(NAME).await?;
            let ours = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&holder);
            if ours && let Some(spec) = lease.spec.as_mut() {
                spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
                api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(ours)
        };
        match tokio::time::timeout(duration / 3, attempt).await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => break,
            Ok(Err(error)) => tracing::debug!("renewing the lock: {error}"),
            Err(_) => tracing::debug!("renewing the lock: no answer"),
        }
        if renewed.elapsed() >= duration {
            break;
        }
    }
    let _ = lost.send(true);
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn fresh(holder: &str, duration: Duration) -> Lease {
    let now = MicroTime(jiff::Timestamp::now());
    Lease {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// Who holds it: a person can find the run by host and process.
fn identity() -> String {
    let host = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    let started = jiff::Timestamp::now().as_microsecond();
    format!("{}/{}/{started}", host.unwrap_or_else(|_| "unknown-host".to_owned()), std::process::id())
}
