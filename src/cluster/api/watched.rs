//! Objects on nodes, kept up to date by watches: one list, then changes only. A watch survives broken connections and expired
//! resourceVersions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::TryStreamExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::errors::{chain, is_transient, plain};

/// What is kept of an object, and the node it is on.
#[derive(Clone, Debug)]
pub struct OnNode<T> {
    /// The node.
    pub node: String,
    /// What is kept.
    pub value: T,
}

/// By node and UID, with the number of the source.
type Objects<T> = BTreeMap<(String, String), (usize, T)>;

/// Why nothing is known, or nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The error of the API server.
    pub why: String,
    /// Whether another try cannot succeed.
    pub permanent: bool,
}

impl Trouble {
    fn new(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
        let why = match error {
            InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => plain(error),
            other => chain(other),
        };
        let permanent = matches!(error, InitialListFailed(error) if !is_transient(error));
        Self { why, permanent }
    }
}

#[derive(Debug)]
struct State<T> {
    objects: Objects<T>,
    trouble: Option<Trouble>,
    /// Number of sources that were listed completely.
    listed: usize,
}

/// The objects. The watches end when it is dropped.
#[derive(Debug)]
pub struct Watched<T> {
    state: watch::Receiver<State<T>>,
    tasks: Vec<JoinHandle<()>>,
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl<T: Clone + Send + Sync + 'static> Watched<T> {
    /// Watches these sources; each object is converted as soon as it is read, and ignored if the conversion returns `None`.
    pub fn start<K, F>(sources: Vec<(Api<K>, watcher::Config, F)>) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        F: Fn(&K) -> Option<OnNode<T>> + Send + Sync + 'static,
    {
        let (sender, state) = watch::channel(State { objects: Objects::new(), trouble: None, listed: 0 });
        let sender = Arc::new(sender);
        let follow = |(source, (api, config, convert)): (usize, (Api<K>, watcher::Config, F))| {
            let sender = Arc::clone(&sender);
            tokio::spawn(async move {
                let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
                let (mut listed, mut complete) = (Objects::new(), false);
                let entry = |object: &K| {
                    let OnNode { node, value } = convert(object)?;
                    Some(((node, object.uid().unwrap_or_default()), (source, value)))
                };
                loop {
                    match stream.try_next().await {
                        Ok(Some(Event::Init)) => listed.clear(),
                        Ok(Some(Event::InitApply(object))) => listed.extend(entry(&object)),
                        Ok(Some(Event::InitDone)) => {
                            let listed = std::mem::take(&mut listed);
                            sender.send_modify(|state| {
                                state.objects.retain(|_, (of, _)| *of != source);
                                state.objects.extend(listed);
                                state.trouble = None;
                                state.listed += usize::from(!std::mem::replace(&mut complete, true));
                            });
                        }
                        Ok(Some(Event::Apply(object))) => {
                            if let Some((key, value)) = entry(&object) {
                                sender.send_modify(|state| {
                                    state.objects.insert(key, value);
                                    state.trouble = None;
                                });
                            }
                        }
                        Ok(Some(Event::Delete(object))) => {
                            if let Some((key, _)) = entry(&object) {
                                sender.send_modify(|state| {
                                    state.objects.remove(&key);
                                    state.trouble = None;
                                });
                            }
                        }
                        Ok(None) => return,
                        // The stream itself waits and restarts; after an expired version it lists again.
                        Err(error) => {
                            let trouble = Trouble::new(&error);
                            tracing::debug!("watching: {}", trouble.why);
                            sender.send_modify(|state| state.trouble = Some(trouble));
                        }
                    }
                }
            })
        };
        let tasks = sources.into_iter().enumerate().map(follow).collect();
        Self { state, tasks }
    }

    /// The objects on a node.
    pub fn on(&self, node: &str) -> Vec<T> {
        on(&self.state.borrow().objects, node).cloned().collect()
    }

    /// Whether all sources were listed once.
    pub fn is_complete(&self) -> bool {
        self.state.borrow().listed >= self.tasks.len()
    }

    /// The error since the last news, if any.
    pub fn trouble(&self) -> Option<Trouble> {
        self.state.borrow().trouble.clone()
    }

    /// Waits until the objects on a node meet a condition.
    pub async fn until(&self, node: &str, mut meets: impl FnMut(&mut dyn Iterator<Item = &T>) -> bool) {
        let mut state = self.state.clone();
        let met = state.wait_for(|state| meets(&mut on(&state.objects, node))).await.is_ok();
        // After the end of the watches there are no changes; the caller has its own timeout.
        if !met {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until something changes.
    pub async fn changed(&self) {
        let mut state = self.state.clone();
        state.mark_unchanged();
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn on<'o, T>(objects: &'o Objects<T>, node: &str) -> impl Iterator<Item = &'o T> {
    let from = (node.to_owned(), String::new());
    let node = node.to_owned();
    objects.range(from..).take_while(move |((on, _), _)| *on == node).map(|(_, (_, value))| value)
}
