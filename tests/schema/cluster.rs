//! The schemas of what the cluster commands print.

use kpx_prep::cluster::kube_proxy::config_map::HashAnnotation;
use kpx_prep::cluster::kube_proxy::proof::How;
use kpx_prep::cluster::observe::flavour::Flavour;
use kpx_prep::cluster::plan::drift::State;
use kpx_prep::cluster::plan::translation::Becomes;
use kpx_prep::cluster::report::remediation::{NodeOutcome, Outcome};
use kpx_prep::report::event::What;
use kpx_prep::sync_health::SyncState;
use serde_json::{Value, json};

use super::parts::{
    about, boolean, count, defined, list, number, object, or_null, report, text, texts, words, words_of,
};

fn outcome() -> Value {
    words_of!(Outcome: Done, LeftoversRemain, NodesFailed, NothingToDo, DryRun, Blocked, Paused, RolledBack, Left,
        Interrupted, Failed)
}

/// `kpx-prep status`
pub(crate) fn cluster_status() -> Value {
    let cluster = object(
        &[
            ("server", text()),
            ("version", text()),
            ("flavour", words_of!(Flavour: Kubeadm, K3s, Rke2, Eks, Aks, Gke, Other)),
        ],
        &[("context", text()), ("note", text())],
    );
    let kube_proxy = object(
        &[
            ("namespace", text()),
            ("daemonSet", text()),
            ("image", text()),
            ("version", or_null(&text())),
            ("configMap", or_null(&text())),
            ("key", or_null(&text())),
            ("configuredMode", about("As written; may be empty.", or_null(&text()))),
            ("targetMode", about("The mode that this means.", or_null(&defined("mode")))),
            ("hashAnnotation", or_null(&words_of!(HashAnnotation: Matches, Differs, Absent))),
            ("lastChange", about("RFC 3339.", or_null(&text()))),
            ("maxUnavailable", text()),
        ],
        &[("daemonSets", texts()), ("modeFlag", text())],
    );
    let run = object(
        &[
            ("holder", text()),
            ("since", or_null(&text())),
            ("progress", or_null(&text())),
            ("alive", about("False: it was killed.", boolean())),
        ],
        &[],
    );
    let totals = ["nodes", "right", "wrong", "notSyncing", "unproved", "withoutPod", "withoutKubeProxy", "windows"];
    let totals: Vec<_> = totals.iter().map(|name| (*name, count())).collect();
    let backup = object(&[("name", text()), ("replacedAt", text()), ("hash", text())], &[]);
    let fields = object(
        &[
            ("cluster", cluster),
            ("kubeProxy", or_null(&kube_proxy)),
            ("nodes", list(&node())),
            ("totals", object(&totals, &[])),
            ("findings", list(&defined("finding"))),
            ("backups", list(&backup)),
        ],
        &[("run", about("A run that changes the cluster.", run))],
    );
    let description = "The report of kpx-prep status.";
    report("ClusterStatus", description, &fields, &["mode", "finding", "leftover", "preparation"])
}

fn node() -> Value {
    let sync = object(
        &[("state", words_of!(SyncState: Synced, Never, Behind, Unknown)), ("failures", count())],
        &[("ageSeconds", count()), ("pendingSeconds", count()), ("fullSyncSeconds", number()), ("healthy", boolean())],
    );
    let host = object(
        &[],
        &[
            ("modules", defined("preparation")),
            ("leftovers", list(&defined("leftover"))),
            ("suspicious", texts()),
            ("error", about("Why it could not be inspected.", text())),
        ],
    );
    object(
        &[
            ("name", text()),
            ("role", words(&["control-plane", "worker"])),
            ("ready", boolean()),
            ("pod", or_null(&text())),
            ("image", or_null(&text())),
            ("podReady", boolean()),
            ("restarts", count()),
            ("effectiveMode", about("The mode that was verified.", or_null(&defined("mode")))),
            ("proof", about("How it was verified.", or_null(&words_of!(How: ProxyMode, Log)))),
            ("fallback", boolean()),
            ("stale", about("The pod is older than the configuration.", boolean())),
            ("state", words_of!(State: Right, Wrong, Fallback, NotSyncing, Unproved, NoPod)),
        ],
        &[("sync", sync), ("reason", text()), ("host", about("With --nodes.", host))],
    )
}

pub(crate) fn plan() -> Value {
    let equivalent = object(&[("setting", text()), ("value", json!({}))], &[]);
    let becomes = words_of!(Becomes: Kept, Translated, Set, MustBeSet, NoEffect, TakesEffect);
    let translation = object(
        &[("setting", text()), ("value", about("Null if it is not set.", json!({}))), ("becomes", becomes)],
        &[("to", equivalent), ("note", text())],
    );
    object(
        &[
            ("from", or_null(&defined("mode"))),
            ("to", or_null(&defined("mode"))),
            ("diff", text()),
            ("translation", list(&translation)),
            ("toPrepare", texts()),
            ("canary", or_null(&text())),
            ("batches", list(&texts())),
            ("batchSize", count()),
            ("timeoutSeconds", count()),
            ("leftAlone", list(&object(&[("node", text()), ("reason", text())], &[]))),
            ("alreadyRight", texts()),
            ("toClean", texts()),
        ],
        &[
            ("estimatedSeconds", about("About how long replacing the pods takes.", count())),
            ("then", about("The second leg.", defined("plan"))),
        ],
    )
}

pub(crate) fn node_result() -> Value {
    let cleaned = object(
        &[("outcome", defined("clean")), ("removed", count()), ("remaining", count()), ("connectionsCut", count())],
        &[("detail", text())],
    );
    let outcome = words_of!(NodeOutcome: Proved, Already, NotReady, Gone, Failed, RolledBack, NotReached);
    object(
        &[("name", text()), ("outcome", outcome)],
        &[("mode", defined("mode")), ("detail", text()), ("cleaned", cleaned)],
    )
}

/// `kpx-prep remediate`
pub(crate) fn remediation() -> Value {
    let first_leg = object(
        &[
            ("from", or_null(&defined("mode"))),
            ("to", or_null(&defined("mode"))),
            ("backup", or_null(&text())),
            ("nodes", list(&defined("node"))),
        ],
        &[],
    );
    let fields = object(
        &[
            ("outcome", outcome()),
            ("plan", defined("plan")),
            ("checks", about("The results of preflight.", list(&defined("finding")))),
            ("backup", about("The ConfigMap that holds the original.", or_null(&text()))),
            ("nodes", list(&defined("node"))),
            ("message", about("The current state, and the next step.", text())),
        ],
        &[("firstLeg", about("What the first of two legs did.", first_leg))],
    );
    report("Remediation", "The report of kpx-prep remediate.", &fields, &["mode", "finding", "clean", "plan", "node"])
}

/// `kpx-prep remediate --progress json`, one object a line.
pub(crate) fn progress() -> Value {
    let what = words_of!(What: Message, Waiting, Log, Error, Started, Preparing, Prepared, Replacing, Watching, Verified,
        Skipped, Failed, Joined, Cleaned, Draining, Drained, RollingBack, RolledBack, Finished);
    let fields = object(
        &[("time", about("RFC 3339.", text())), ("event", what), ("message", text())],
        &[
            ("node", text()),
            ("mode", defined("mode")),
            ("done", count()),
            ("total", count()),
            ("secondsLeft", count()),
            ("outcome", outcome()),
            ("exit", about("The exit status.", count())),
        ],
    );
    report("Progress", "A line of kpx-prep remediate --progress json.", &fields, &["mode"])
}

/// `index.json` in the archive of `kpx-prep collect`.
pub(crate) fn support_bundle() -> Value {
    let node = ["name", "kubelet", "kernel", "os", "architecture", "runtime"].map(|name| (name, text()));
    let file = object(&[("path", text()), ("about", text())], &[]);
    let fields = object(
        &[
            ("created", about("RFC 3339.", text())),
            ("kpxPrep", about("The version of kpx-prep.", text())),
            ("nodePrograms", text()),
            ("kubernetes", about("The API server's version.", text())),
            ("anonymized", about("Names and addresses were replaced.", boolean())),
            ("nodes", or_null(&list(&object(&node, &[])))),
            ("missing", about("What could not be read, and why.", texts())),
            ("files", list(&file)),
        ],
        &[],
    );
    report("SupportBundle", "index.json in the archive of kpx-prep collect.", &fields, &[])
}
