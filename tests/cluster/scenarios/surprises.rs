//! What happens around a run: signals, terminals and disks that go away, clocks that are wrong, questions that are answered "no".

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::Fault;
use crate::cluster::kpx_prep;
use crate::cluster::scenarios::blocked::container;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("surprises::a_hangup_is_ctrl_c", hangup),
        trial("surprises::a_hangup_that_is_ignored_stays_ignored", nohup),
        trial("surprises::a_full_disk_behind_standard_error_stops_nothing", full_disk),
        trial("surprises::a_reader_that_goes_away_stops_nothing", closed_pipe),
        trial("surprises::backups_of_a_clock_that_was_ahead", clock_ahead),
        trial("surprises::nothing_to_do_on_nodes_needs_no_helper", no_helper),
        trial("surprises::the_helper_is_started_after_a_yes_only", refused_helper),
        trial("surprises::a_mode_that_is_deprecated_is_asked_for", asked_for_the_mode),
        trial("surprises::a_certificate_of_another_is_told_at_once", certificate),
    ]
}

/// `kpx-prep remediate` without the helper, its streams still to be chosen.
fn remediate(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["remediate", "--kubeconfig"]).arg(&cluster.kubeconfig);
    command.args(["--yes", "--assume-nodes-prepared", "--no-clean", "--settle-time", "2s", "--timeout", "4s"]);
    if !arguments.contains(&"--rollback") {
        command.args(["--mode", "ipvs"]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn hangup(world: &World) {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let cluster = world.nodes(3).start().await;
        let run = cluster.remediation(&["--settle-time", "3s"]);
        cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
        run.signal(signal);
        let outcome = run.end().await.exits(130).says("/outcome", "interrupted");
        assert_eq!(cluster.lock_holder().await, None, "{signal}: {outcome}");
        assert_eq!(cluster.nodes.modes().values().filter(|mode| *mode == "ipvs").count(), 1, "{signal}: {outcome}");
    }
}

async fn nohup(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let inner = remediate(&cluster, &[]);
    let mut command = Command::new("nohup");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).arg(inner.get_program()).args(inner.get_args());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("an id"));
    nix::sys::signal::kill(id, Signal::SIGHUP).expect("it runs");
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("waited").expect("its status");
    assert_eq!(status.code(), Some(0), "{status}");
    before.switched(&cluster).await;
}

async fn full_disk(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    for verbose in [&[][..], &["--rollback", "-vv"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let mut command = remediate(&cluster, verbose);
        command.stderr(full);
        let status = tokio::task::spawn_blocking(move || command.status()).await.expect("waited").expect("its status");
        assert_eq!(status.code(), Some(0), "{verbose:?}: {status}");
    }
    before.rolled_back(&cluster).await;
}

async fn closed_pipe(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let mut child = remediate(&cluster, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop((child.stdout.take(), child.stderr.take()));
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("waited").expect("its status");
    assert_eq!(status.code(), Some(0), "{status}");
    before.switched(&cluster).await;
}

/// As many originals as are kept, all of them "newer" than any that can be made now.
async fn clock_ahead(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    for number in 0..10 {
        let backup: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": format!("kpx-prep-backup-000000000{number}"),
                "labels": {"app.kubernetes.io/managed-by": "kpx-prep"},
                "annotations": {
                    "kpx-prep/configmap": cluster.config_map, "kpx-prep/key": "config.conf",
                    "kpx-prep/replaced-at": format!("2099-01-0{}T00:00:00.000000Z", number + 1),
                },
            },
            "data": {"config.conf": format!("mode: \"nftables\"\n# {number}\n")},
        }))
        .expect("a ConfigMap");
        maps.create(&PostParams::default(), &backup).await.expect("made");
    }
    let outcome = cluster.remediate(&[]).await.exits(0);
    let own = outcome.json["backup"].as_str().expect("a backup").to_owned();
    let backups = cluster.backups().await;
    assert!(backups.len() == 10 && backups[&own] == before.data, "{:?}\n{outcome}", backups.keys());
    assert!(
        !backups.contains_key("kpx-prep-backup-0000000000"),
        "the oldest goes, by the API server's order: {outcome}"
    );
    cluster.remediate(&["--rollback"]).await.exits(0);
    before.rolled_back(&cluster).await;
}

async fn no_helper(world: &World) {
    let cluster = world.nodes(2).start().await;
    cluster.whole(&[]).await.exits(0);
    cluster.nodes.hosts.forget_commands();
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    let through = proxy.cluster(&cluster);
    through.whole(&["--mode", "iptables", "--no-clean"]).await.exits(0).says("/outcome", "done");
    through.whole(&["--assume-nodes-prepared"]).await.exits(0);
    cluster.nodes.hosts.forget_commands();
    let made = proxy.seen().iter().filter(|asked| asked.is("create daemonsets")).count();
    assert_eq!(made, 1, "only the run that cleans needs it");
    // Where a rollback leads is known only when it is planned.
    through.whole(&["--rollback", "--no-clean"]).await.exits(0);
    assert!(cluster.nodes.hosts.commands("node-1").is_empty());
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 iptables\n");
}

async fn refused_helper(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let script = cluster.folder.join("ask");
    let program = env!("CARGO_BIN_EXE_kpx-prep");
    let kubeconfig = cluster.kubeconfig.display();
    for (arguments, answer, exit, made) in [
        ("status --nodes", "n", 130, false),
        ("remediate --mode ipvs", "n", 130, false),
        ("remediate --mode ipvs --dry-run --nodes", "n", 130, false),
        ("status --nodes", "y", 0, true),
    ] {
        fs::write(&script, format!("#!/bin/sh\nexec {program} {arguments} --kubeconfig {kubeconfig}\n"))
            .expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        let proxy = cluster.proxy(|_, _| Fault::None).await;
        let through = proxy.cluster(&cluster);
        let text = fs::read_to_string(&script).expect("the script");
        fs::write(&script, text.replace(&kubeconfig.to_string(), &through.kubeconfig.display().to_string()))
            .expect("written");
        // On a terminal of its own.
        let ask = format!("(sleep 6; echo {answer}) | script -qec {} /dev/null", script.display());
        let output = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &ask]).output());
        let output = output.await.expect("waited").expect("its output");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit), "{arguments}, {answer}: {shown}");
        for word in ["SYS_MODULE", "load kernel modules", "NET_ADMIN", "2 node(s)", "context proxy", "[y/N]"] {
            assert!(shown.contains(word), "{arguments}: nothing about {word}: {shown}");
        }
        let created = proxy.seen().iter().any(|asked| asked.is("create daemonsets"));
        assert_eq!(created, made, "{arguments}, {answer}: {shown}");
        assert!(!cluster.helper_is_there().await && cluster.lock_holder().await.is_none(), "{arguments}: {shown}");
    }
    before.untouched(&cluster).await;
    // Without a terminal and without --yes there is nobody to ask.
    for arguments in [&["--nodes"][..], &["--nodes", "-o", "json"]] {
        let outcome = kpx_prep::start(&cluster.kubeconfig, "status", arguments).end().await;
        outcome.exits(2).mentions("--yes");
    }
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--dry-run", "--nodes"]).end().await.exits(2).mentions("--yes");
}

/// From 1.35 on ipvs is no default: on a terminal the mode is asked for, which --yes does not answer, and elsewhere it is
/// required. A cluster that is configured for ipvs goes on with it.
async fn asked_for_the_mode(world: &World) {
    let image = json!("registry.k8s.io/kube-proxy:v1.36.3");
    let cluster = world.nodes(1).daemon_set(|set| container(set)["image"] = image).start().await;
    let before = cluster.before().await;
    for arguments in [&["--dry-run"][..], &["--yes"], &["--yes", "--progress", "json"], &["--yes", "-o", "json"]] {
        let outcome = kpx_prep::start(&cluster.kubeconfig, "remediate", arguments).end().await.exits(2);
        let outcome = outcome.mentions("remediate --mode nftables").mentions("remediate --mode ipvs");
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome}");
    }
    let program = env!("CARGO_BIN_EXE_kpx-prep");
    let command = format!(
        "{program} remediate --yes --assume-nodes-prepared --no-clean --settle-time 100ms --timeout 4s --kubeconfig {}",
        cluster.kubeconfig.display()
    );
    // On a terminal of its own; the last one has standard error elsewhere, so that nobody reads the question.
    let quiet = format!("{command} 2>/dev/null");
    for (command, answer, exit, mode) in [
        (&command, "", 2, "iptables"),
        (&command, "yes", 2, "iptables"),
        (&command, "IPVS", 2, "iptables"),
        (&quiet, "ipvs", 2, "iptables"),
        (&command, "ipvs", 0, "ipvs"),
    ] {
        let ask = format!("(sleep 6; echo {answer}) | script -qec '{command}' /dev/null");
        let output = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &ask]).output());
        let output = output.await.expect("waited").expect("its output");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit), "{answer}: {shown}");
        assert_eq!(shown.contains("Mode (nftables, ipvs, iptables): "), *command != quiet, "{answer}: {shown}");
        assert_eq!(cluster.modes(), format!("node-1 {mode}\n"), "{answer}: {shown}");
        if exit == 2 {
            before.untouched(&cluster).await;
        }
    }
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--dry-run", "--no-clean", "--assume-nodes-prepared"])
        .end()
        .await
        .exits(0)
        .mentions("Configured mode ipvs");
}

async fn certificate(world: &World) {
    let cluster = world.nodes(1).start().await;
    let text = fs::read_to_string(&cluster.kubeconfig).expect("a kubeconfig");
    let without = cluster.folder.join("without-ca.conf");
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("certificate-authority")).collect();
    assert!(lines.len() < text.lines().count(), "{text}");
    fs::write(&without, lines.join("\n") + "\n").expect("written");
    let from = Instant::now();
    let outcome = cluster.through(without).status(&[]).await;
    assert!(matches!(outcome.exit, Some(1 | 2)), "{outcome}");
    assert!(from.elapsed() < Duration::from_secs(15), "{:?}\n{outcome}", from.elapsed());
    outcome.mentions("certificate");
}
