//! Collects what a support case needs: state, plan, events, logs, hosts, versions. It only reads, and goes on where a part
//! cannot be read.

mod events;
mod logs;
mod names;
pub mod versions;

use serde::Serialize;
use serde_json::{Value, json};

use super::api::connection::client::Connection;
use super::helper::programs;
use super::kube_proxy::daemon_set::KubeProxy;
use super::observe::facts::ClusterFacts;
use super::observe::surroundings::look;
use super::plan::plan as make_plan;
use super::plan::request::Request;
use super::report::remediation::{Outcome, RemediationReport};
use super::report::status::StatusReport;
use crate::bundle::anonymizer::Anonymizer;
use crate::bundle::{BundleFile, Collected, Content, finished, json_bytes, masked};
use crate::page::{Page, PageFormat};
use crate::report::API_VERSION;
use versions::NodeVersions;

/// What is collected.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The plan of this request; `None` without one.
    pub plan: Option<Request>,
    /// Logs of at most this many nodes.
    pub logs: usize,
    /// Whether names and addresses are replaced.
    pub anonymize: bool,
}

/// What was collected.
#[derive(Debug)]
pub struct Collection {
    /// The first file, without its list.
    pub index: Index,
    /// The others.
    pub files: Vec<Collected>,
    /// Knows all names, if they are to be replaced.
    pub anonymizer: Option<Anonymizer>,
}

/// The first file of a bundle.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// `SupportBundle`.
    pub kind: &'static str,
    /// When, RFC 3339.
    pub created: String,
    /// The version of kpx-prep.
    pub kpx_prep: &'static str,
    /// The node programs that it carries.
    pub node_programs: String,
    /// The API server's version.
    pub kubernetes: String,
    /// Whether names and addresses were replaced.
    pub anonymized: bool,
    /// The nodes' versions; `None` if they could not be read.
    pub nodes: Option<Vec<NodeVersions>>,
    /// What could not be read, and why.
    pub missing: Vec<String>,
}

impl Collection {
    /// The files as they are written, without secrets; the index is the first, and lists the others.
    ///
    /// # Errors
    /// If the index cannot be serialized.
    pub fn finish(mut self) -> anyhow::Result<Vec<BundleFile>> {
        let mut index = masked(serde_json::to_value(&self.index)?, self.anonymizer.as_mut());
        let mut files = finished(self.files, self.anonymizer.as_mut());
        // Added after the masking: a second one would take their new names for others.
        index["files"] = files.iter().map(|file| json!({"path": file.path, "about": file.about})).collect();
        let about = "list of the files, and all versions".to_owned();
        files.insert(0, BundleFile { path: "index.json".to_owned(), about, bytes: json_bytes(&index) });
        Ok(files)
    }
}

/// Collects, for facts that may hold surveys of hosts.
///
/// # Errors
/// If names are to be replaced and cannot be listed: nothing is left out silently then.
pub async fn collect(connection: &Connection, facts: &ClusterFacts, wanted: &Wanted) -> anyhow::Result<Collection> {
    let mut missing = Vec::new();
    let mut anonymizer = None;
    if wanted.anonymize {
        anonymizer = Some(names::anonymizer(connection, facts).await?);
    }
    let mut files = state(facts)?;
    files.extend(hosts(facts, &mut missing));
    if let Some(kube_proxy) = &facts.kube_proxy {
        match plan(connection, facts, kube_proxy, wanted).await {
            Ok(plan) => files.extend(plan),
            Err(error) => missing.push(format!("plan: {error:#}")),
        }
        match events::read(&connection.client, kube_proxy).await {
            Ok(events) => {
                files.push(file("", "events", "json", "Events of kube-proxy and of the nodes", Content::Json(events)));
            }
            Err(error) => missing.push(format!("events: {error:#}")),
        }
        files.extend(logs::read(&connection.client, facts, kube_proxy, wanted.logs, &mut missing).await);
    }
    let nodes = match versions::read(&connection.client).await {
        Ok(nodes) => Some(nodes),
        Err(error) => {
            missing.push(format!("versions of the nodes: {error:#}"));
            None
        }
    };
    let index = Index {
        api_version: API_VERSION,
        kind: "SupportBundle",
        created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        kpx_prep: env!("CARGO_PKG_VERSION"),
        node_programs: programs::describe(),
        kubernetes: connection.version.clone(),
        anonymized: wanted.anonymize,
        nodes,
        missing,
    };
    Ok(Collection { index, files, anonymizer })
}

fn file(folder: &'static str, name: &str, ending: &'static str, about: &str, content: Content) -> Collected {
    Collected { folder, name: name.to_owned(), ending, about: about.to_owned(), content }
}

/// A report for programs, and for people.
fn report(name: &str, about: &str, report: Value, page: &Page) -> [Collected; 2] {
    let text = Content::Text(page.render(PageFormat::Markdown));
    [file("", name, "json", about, Content::Json(report)), file("", name, "md", &format!("{about}, to read"), text)]
}

fn state(facts: &ClusterFacts) -> anyhow::Result<Vec<Collected>> {
    let status = StatusReport::new(facts);
    let mut files = Vec::from(report("status", "kpx-prep status", serde_json::to_value(&status)?, &status.page()));
    if let Some(config) = &facts.config {
        let about = format!("key {} of ConfigMap {}", config.key, config.name);
        files.push(file("", "config", "yaml", &about, Content::Text(config.text.clone())));
    }
    Ok(files)
}

fn hosts(facts: &ClusterFacts, missing: &mut Vec<String>) -> Vec<Collected> {
    let mut files = Vec::new();
    for node in &facts.nodes {
        match &node.host {
            None => {}
            Some(Err(why)) => missing.push(format!("survey of node {}: {why}", node.name)),
            Some(Ok(survey)) => match serde_json::to_value(survey) {
                Ok(survey) => {
                    files.push(file("hosts", &node.name, "json", "survey of the host", Content::Json(survey)));
                }
                Err(error) => missing.push(format!("survey of node {}: {error}", node.name)),
            },
        }
    }
    files
}

async fn plan(
    connection: &Connection,
    facts: &ClusterFacts,
    kube_proxy: &KubeProxy,
    wanted: &Wanted,
) -> anyhow::Result<Vec<Collected>> {
    let Some(request) = &wanted.plan else { return Ok(Vec::new()) };
    let surroundings = look(&connection.client, kube_proxy).await?;
    let plan = make_plan(facts, &surroundings, request);
    let name = plan.to.map_or("the configured mode", |mode| mode.name());
    let about = format!("the plan of kpx-prep remediate for {name}");
    let planned = RemediationReport::new(&plan, Outcome::DryRun, "A plan only; nothing was changed.");
    Ok(report("plan", &about, serde_json::to_value(&planned)?, &planned.page(&[])).into())
}
