//! The Lease object of a run: its name, holder and times.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// The Lease's name.
pub const NAME: &str = "kpx-prep";
/// The annotation with the progress of the run.
pub(super) const PROGRESS: &str = "kpx-prep/progress";

/// `leaseDurationSeconds` as a duration.
pub(super) fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

/// A Lease just renewed by this holder.
pub(super) fn fresh(holder: &str, duration: Duration) -> Lease {
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

/// The holder's identity, which contains host and process.
pub(super) fn identity() -> String {
    let host = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    let started = jiff::Timestamp::now().as_microsecond();
    format!("{}/{}/{started}", host.unwrap_or_else(|_| "unknown-host".to_owned()), std::process::id())
}
