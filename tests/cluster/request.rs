//! A request to the API server, in the words of its authorization.

use std::fmt;

use http::{Method, Request};
use hyper::body::Bytes;
use serde_json::Value;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `get`, `list`, `watch`, `create`, `patch`, `delete`, …
    pub(crate) verb: &'static str,
    /// `pods`, `pods/portforward`, or a path that is no resource's.
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    /// Whether nothing is to be kept.
    pub(crate) dry_run: bool,
    /// Whether it goes on with a list.
    pub(crate) continues: bool,
    /// The verb and resource that a review asks about.
    pub(crate) reviews: Option<(String, String)>,
}

impl Asked {
    /// Reads it off a request.
    pub(crate) fn of(request: &Request<Bytes>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let has = |wanted: &str| query.split('&').any(|pair| pair.starts_with(wanted));
        let path = request.uri().path();
        let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        let prefix = match words.first() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            _ => usize::MAX,
        };
        let (resource, name) = if words.len() <= prefix {
            (path.to_owned(), None)
        } else {
            words.drain(..prefix);
            if words[0] == "namespaces" && words.len() > 2 {
                words.drain(..2);
            }
            let resource = words.get(2).map_or(words[0].to_owned(), |sub| format!("{}/{sub}", words[0]));
            (resource, words.get(1).map(|name| (*name).to_owned()))
        };
        let verb = match (request.method(), name.is_some()) {
            (&Method::GET, _) if has("watch=true") || has("watch=1") => "watch",
            (&Method::GET, false) if prefix != usize::MAX => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "delete",
            (&Method::DELETE, false) => "deletecollection",
            _ => "other",
        };
        let reviews = if resource == "selfsubjectaccessreviews" { review(request.body()) } else { None };
        // A deletion's options may also be its body.
        let options = serde_json::from_slice::<Value>(request.body()).unwrap_or_default();
        let dry_run = has("dryRun=All") || verb.starts_with("delete") && options["dryRun"][0] == "All";
        Self { verb, resource, name, dry_run, continues: has("continue="), reviews }
    }

    /// Whether it changes what is stored.
    pub(crate) fn writes(&self) -> bool {
        let asks = self.resource.starts_with("selfsubject") || self.resource == "pods/portforward";
        !self.dry_run && !asks && !matches!(self.verb, "get" | "list" | "watch")
    }

    /// Whether it opens a connection to a node.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.resource.as_str(), "pods/portforward" | "pods/exec")
    }

    /// Whether this is what `text` names, as in `patch configmaps`.
    pub(crate) fn is(&self, text: &str) -> bool {
        !self.dry_run && text.split_once(' ') == Some((self.verb, &self.resource))
    }
}

fn review(body: &[u8]) -> Option<(String, String)> {
    let review: Value = serde_json::from_slice(body).ok()?;
    let what = &review["spec"]["resourceAttributes"];
    let resource = what["resource"].as_str()?;
    let sub = what["subresource"].as_str().filter(|sub| !sub.is_empty());
    let resource = sub.map_or(resource.to_owned(), |sub| format!("{resource}/{sub}"));
    Some((what["verb"].as_str()?.to_owned(), resource))
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dry = if self.dry_run { " (dry run)" } else { "" };
        write!(formatter, "{} {}{dry}", self.verb, self.resource)
    }
}
