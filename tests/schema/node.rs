//! The schemas of what the node commands and `kpx-prep checks` print.

use kpx_prep::checks::Command;
use kpx_prep::node::boot::mechanism::Mechanism;
use kpx_prep::node::decide::module_state::State;
use kpx_prep::node_protocol::BridgeOutcome;
use kpx_prep::report::Level;
use serde_json::{Value, json};

use super::parts::{about, boolean, count, defined, list, object, or_null, report, text, texts, words_of};

/// `node install`, `check` and `remove`
pub(crate) fn node_report() -> Value {
    let boot = words_of!(Mechanism: SystemdModulesLoad, Openrc, RhelLoadmodules, Loadmodules, Sysvinit, ModulesLoadD,
        SysconfigModules, Other);
    let module = object(
        &[
            ("name", text()),
            ("mandatory", boolean()),
            ("state", words_of!(State: Loaded, BuiltIn, Loadable, Missing, Unknown, Blocked)),
        ],
        &[("reason", about("Stable id.", text())), ("detail", text()), ("hint", text())],
    );
    let file = object(&[("path", text()), ("state", text())], &[("detail", text())]);
    let fields = object(
        &[
            ("outcome", defined("preparation")),
            ("summary", text()),
            ("modes", list(&defined("mode"))),
            ("root", text()),
            ("distro", text()),
            ("kernel", or_null(&text())),
            ("boot", about("What loads modules at boot.", list(&boot))),
            ("modules", list(&module)),
            ("files", list(&file)),
            ("findings", list(&defined("finding"))),
        ],
        &[("container", text()), ("bootVouched", boolean())],
    );
    let description = "The report of kpx-prep node install, check and remove.";
    report("NodeReport", description, &fields, &["mode", "finding", "preparation"])
}

/// `node survey`
pub(crate) fn node_survey() -> Value {
    let preparation = object(
        &[("outcome", defined("preparation")), ("summary", text()), ("findings", list(&defined("finding")))],
        &[],
    );
    let server = object(
        &[
            ("protocol", text()),
            ("address", text()),
            ("port", count()),
            ("scheduler", text()),
            ("claimed", about("Whether it is kube-proxy's.", boolean())),
            ("connections", count()),
        ],
        &[],
    );
    let ports = json!({"type": "array", "items": count(), "minItems": 2, "maxItems": 2});
    let fields = object(
        &[
            ("version", text()),
            ("kernel", text()),
            ("distro", text()),
            ("modules", about("What node install would do.", preparation)),
            ("running", about("The mode that kube-proxy answers with.", or_null(&text()))),
            ("virtualServers", list(&server)),
            ("leftovers", list(&defined("leftover"))),
            ("suspicious", texts()),
            ("inputDrops", texts()),
            ("localPorts", or_null(&ports)),
            ("connReuseMode", or_null(&count())),
            ("iptables", or_null(&text())),
            ("bothIptables", boolean()),
            ("nft", or_null(&text())),
            ("answering", texts()),
            ("networkManagerInterferes", boolean()),
        ],
        &[
            ("forwardDrops", texts()),
            ("lacksTimeMatch", boolean()),
            ("markChains", texts()),
            ("otherKubeProxies", texts()),
            ("findings", list(&defined("finding"))),
        ],
    );
    let description = "The report of kpx-prep node survey.";
    report("NodeSurvey", description, &fields, &["finding", "leftover", "preparation"])
}

/// `node leftovers`
pub(crate) fn leftovers() -> Value {
    let fields = object(
        &[
            ("running", or_null(&text())),
            ("leftovers", list(&defined("leftover"))),
            ("suspicious", texts()),
            ("findings", list(&defined("finding"))),
        ],
        &[],
    );
    report("LeftoversReport", "The report of kpx-prep node leftovers.", &fields, &["finding", "leftover"])
}

/// `node clean`
pub(crate) fn clean() -> Value {
    let fields = object(
        &[
            ("outcome", defined("clean")),
            ("summary", text()),
            ("running", or_null(&text())),
            ("removed", list(&defined("leftover"))),
            ("remaining", list(&defined("leftover"))),
            ("connectionsCut", count()),
            ("suspicious", texts()),
            ("findings", list(&defined("finding"))),
        ],
        &[("transactions", about("With --dry-run.", texts()))],
    );
    report("CleanReport", "The report of kpx-prep node clean.", &fields, &["finding", "leftover", "clean"])
}

/// `node bridge`
pub(crate) fn bridge() -> Value {
    let fields = object(
        &[
            ("outcome", words_of!(BridgeOutcome: Put, NothingToCopy, Refused, Failed)),
            ("summary", text()),
            ("findings", list(&defined("finding"))),
        ],
        &[],
    );
    report("BridgeReport", "The report of kpx-prep node bridge.", &fields, &["finding"])
}

/// `kpx-prep checks`
pub(crate) fn checks() -> Value {
    let command = words_of!(Command: NodeInstall, NodeCheck, NodeRemove, NodeSurvey, NodeLeftovers, NodeBridge, NodeClean,
        KubeadmConfig, CloudInit, Ignition, Capi, Status, Remediate);
    let check = object(
        &[
            ("id", text()),
            ("commands", list(&command)),
            ("levels", list(&words_of!(Level: Info, Warning, Error))),
            ("ignorable", about("By remediate --ignore-preflight-errors.", boolean())),
            ("title", text()),
            ("meaning", text()),
            ("fix", text()),
            ("source", text()),
        ],
        &[("link", text())],
    );
    report("CheckList", "The list of kpx-prep checks.", &object(&[("checks", list(&check))], &[]), &[])
}
