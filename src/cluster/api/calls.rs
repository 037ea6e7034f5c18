//! Calls to the API server: paged lists, and retries while the server is busy or briefly unavailable.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{Api, ListParams};
use kube::core::{Object, Request};
use serde::de::DeserializeOwned;

use super::errors::{code, is_transient, plain};
use super::listed::Listed;
use crate::boot_clock::BootInstant;
use crate::report::say::still_waiting;

/// Number of objects per page of a list: kubectl's chunk size.
const PAGE: u32 = 500;
/// Delays between retries of a call, in milliseconds: about 29 seconds in total, as long as an API server takes to
/// restart.
const RETRY_DELAYS_MS: [u64; 9] = [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
/// Limit for restarting a list after its continue token expired.
const FRESH_STARTS: u32 = 3;
/// Limit for the number of objects in a page: an API server may ignore the requested limit.
const MOST: usize = 20_000;
/// Limit for the number of pages of a list: a million objects.
const PAGES: usize = 2000;
/// How long a call is retried; the last try may exceed that by its own duration.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The retry delay that a busy server requests.
pub(super) fn asked_for(error: &kube::Error) -> Duration {
    let seconds = match error {
        kube::Error::Api(status) => status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    Duration::from_secs(u64::from(seconds.min(30)))
}

/// A page of a list, with a limit for its objects.
#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    metadata: ListMeta,
    #[serde(deserialize_with = "not_too_many", default = "Vec::new")]
    items: Vec<T>,
}

/// Reads a bounded number of objects: an API server without paging returns all at once.
fn not_too_many<'de, D: serde::Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Counted<T>(std::marker::PhantomData<T>);
    impl<'de, T: DeserializeOwned> serde::de::Visitor<'de> for Counted<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while let Some(item) = items.next_element()? {
                if kept.len() == MOST {
                    return Err(serde::de::Error::custom(format!("a page of more than {MOST} objects")));
                }
                kept.push(item);
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_any(Counted(std::marker::PhantomData))
}

/// Retries a call until it succeeds, fails permanently, or the time is over. Only for idempotent calls.
///
/// # Errors
/// The last error.
pub async fn retried<T, C, F>(mut call: C) -> kube::Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = kube::Result<T>>,
{
    let from = BootInstant::now();
    for wait in tries() {
        match call().await {
            Err(error) if is_transient(&error) && from.elapsed() < PATIENCE => pause_after(&error, wait).await,
            result => return result,
        }
    }
    call().await
}

/// The delays after each try of a call but the last.
pub fn tries() -> impl Iterator<Item = Duration> {
    RETRY_DELAYS_MS.into_iter().map(Duration::from_millis)
}

/// Waits after a failed try: this long, or as long as the server requests.
pub async fn pause_after(error: &kube::Error, wait: Duration) {
    let wait = wait.max(asked_for(error));
    still_waiting(&format!("the API server to recover ({})", plain(error)), None);
    tracing::info!("{}; retrying in {wait:?}", plain(error));
    tokio::time::sleep(wait).await;
}

/// Reads a list page by page, so that only one page is in memory.
///
/// An expired continue token (410, after a compaction) restarts the list; `fresh` is then called to drop what was
/// collected.
///
/// # Errors
/// Errors of the API server.
pub async fn walk<P, U, R>(
    api: &Api<Object<P, U>>,
    params: &ListParams,
    gathered: &mut R,
    mut add: impl FnMut(&mut R, Object<P, U>),
) -> kube::Result<()>
where
    P: Clone + Default + DeserializeOwned + Debug,
    U: Clone + Default + DeserializeOwned + Debug,
    R: Default,
{
    let mut starts = 0;
    let mut token: Option<String> = None;
    for _ in 0..PAGES {
        let mut page = params.clone().limit(PAGE);
        page.continue_token.clone_from(&token);
        let get = || async {
            let request = Request::new(api.resource_url()).list(&page).map_err(kube::Error::BuildRequest)?;
            api.clone().into_client().request::<Page<Listed<P, U>>>(request).await
        };
        match retried(get).await {
            Ok(list) => {
                for object in list.items {
                    add(gathered, object.0);
                }
                token = list.metadata.continue_.filter(|token| !token.is_empty());
                if token.is_none() {
                    return Ok(());
                }
            }
            Err(error) if code(&error) == Some(410) && starts < FRESH_STARTS => {
                starts += 1;
                token = None;
                *gathered = R::default();
            }
            Err(error) => return Err(error),
        }
    }
    Err(kube::Error::Service(format!("the list has more than {PAGES} pages; reading was stopped").into()))
}

/// The whole list; each object is converted as soon as its page is read.
///
/// # Errors
/// Errors of the API server.
pub async fn list<P, U, T>(
    api: &Api<Object<P, U>>,
    params: &ListParams,
    mut turn: impl FnMut(Object<P, U>) -> T,
) -> kube::Result<Vec<T>>
where
    P: Clone + Default + DeserializeOwned + Debug,
    U: Clone + Default + DeserializeOwned + Debug,
{
    let mut gathered = Vec::new();
    walk(api, params, &mut gathered, |gathered: &mut Vec<T>, object| gathered.push(turn(object))).await?;
    Ok(gathered)
}

/// One object, or `None` if it does not exist.
///
/// # Errors
/// Other errors of the API server.
pub async fn get<K>(api: &Api<K>, name: &str) -> kube::Result<Option<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    retried(|| api.get_opt(name)).await
}
