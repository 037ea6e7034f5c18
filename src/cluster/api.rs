//! Calls to the API server: paged lists, and patience with a server that is busy or gone for a moment.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::{Object, ObjectList, Request};
use serde::de::DeserializeOwned;

use super::lean::Lean;

/// How many objects a list asks for at a time: kubectl's own chunk size.
const PAGE: u32 = 500;
/// Waits between tries of one call, in milliseconds: some 26 seconds altogether, as long as an API server takes to
/// start again.
const WAITS: [u64; 9] = [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
/// How often a list may start anew because its continue token expired.
const FRESH_STARTS: u32 = 3;

/// The HTTP status of a refusal by the API server.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the same call may well succeed a little later.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether nothing listens at the API server's address, or it cannot be found.
pub fn is_unreachable(error: &kube::Error) -> bool {
    let text = plain(error);
    ["Connection refused", "dns error", "failed to lookup"].iter().any(|sign| text.contains(sign))
}

/// How long a busy server asks to be left alone.
fn asked_for(error: &kube::Error) -> Duration {
    let seconds = match error {
        kube::Error::Api(status) => status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    Duration::from_secs(u64::from(seconds.min(30)))
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
    for wait in WAITS {
        match call().await {
            Err(error) if is_transient(&error) => {
                let wait = Duration::from_millis(wait).max(asked_for(&error));
                tracing::info!("{}; trying again in {wait:?}", plain(&error));
                tokio::time::sleep(wait).await;
            }
            result => return result,
        }
    }
    call().await
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
    loop {
        let mut page = params.clone().limit(PAGE);
        page.continue_token.clone_from(&token);
        let get = || async {
            let request = Request::new(api.resource_url()).list(&page).map_err(kube::Error::BuildRequest)?;
            api.clone().into_client().request::<ObjectList<Lean<P, U>>>(request).await
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

/// What an error means, without what a person does not need.
pub fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("{} ({})", status.reason, status.code),
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

/// An error with its causes, none said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
