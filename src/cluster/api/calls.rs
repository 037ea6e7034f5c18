//! Calls to the API server: paged lists, and patience with a server that is busy or gone for a moment.

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

/// How many objects a list asks for at a time: kubectl's own chunk size.
const PAGE: u32 = 500;
/// Waits between tries of one call, in milliseconds: some 26 seconds altogether, as long as an API server takes to
/// start again.
const WAITS: [u64; 9] = [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
/// How often a list may start anew because its continue token expired.
const FRESH_STARTS: u32 = 3;
/// How many objects one page may have: an API server may leave the limit out of account.
const MOST: usize = 20_000;
/// How many pages a list may have: a million objects.
const PAGES: usize = 2000;
/// How long a call is tried again; the last try may take its own time beyond that.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How long a busy server asks to be left alone.
fn asked_for(error: &kube::Error) -> Duration {
    let seconds = match error {
        kube::Error::Api(status) => status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    Duration::from_secs(u64::from(seconds.min(30)))
}

/// A page of a list, with no more objects than make sense in one.
#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    metadata: ListMeta,
    #[serde(deserialize_with = "not_too_many", default = "Vec::new")]
    items: Vec<T>,
}

/// So many objects, and not one more is kept: an API server that does not know the limit of a page gives all at once.
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

/// Calls until it succeeds, fails for good, or patience ends. Only for calls that may be repeated.
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

/// How long to wait after each try of a call but the last.
pub fn tries() -> impl Iterator<Item = Duration> {
    WAITS.into_iter().map(Duration::from_millis)
}

/// Waits after a try that failed: that long, or as long as the server asks for.
pub async fn pause_after(error: &kube::Error, wait: Duration) {
    let wait = wait.max(asked_for(error));
    still_waiting(&format!("the API server to answer in order again ({})", plain(error)), None);
    tracing::info!("{}; trying again in {wait:?}", plain(error));
    tokio::time::sleep(wait).await;
}

/// Walks through a list page by page, so that no more than one page is in memory.
///
/// An expired continue token (410, the server's compaction took it) starts the list anew; `fresh` is then called
/// to drop what was gathered.
///
/// # Errors
/// What the API server says.
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
    Err(kube::Error::Service(format!("the list has more than {PAGES} pages: it is not read any further").into()))
}

/// The whole list, each object turned into what is needed of it as soon as its page is read.
///
/// # Errors
/// What the API server says.
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

/// One object, or nothing if there is none of that name.
///
/// # Errors
/// What else the API server says.
pub async fn get<K>(api: &Api<K>, name: &str) -> kube::Result<Option<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    retried(|| api.get_opt(name)).await
}
