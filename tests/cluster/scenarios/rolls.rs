//! `kpx-prep remediate` where everything goes well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::cluster::before::with_mode;
use crate::cluster::fault_proxy::Fault;
use crate::cluster::kpx_prep;
use crate::cluster::request::Asked;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rolls::three_nodes", three_nodes),
        trial("rolls::fifty_nodes_never_more_than_asked_without_kube_proxy", fifty_nodes),
        trial("rolls::nothing_to_do", nothing_to_do),
        trial("rolls::dry_run_changes_nothing", dry_run),
        trial("rolls::without_confirmation_is_wrong_usage", no_confirmation),
        trial("rolls::pause_after_canary_then_resume", pause),
        trial("rolls::interrupted_and_resumed", interrupted),
        trial("rolls::canary_of_ones_choice", chosen_canary),
        trial("rolls::the_same_command_again_resumes_past_its_canary", same_command),
        trial("rolls::custom_names", custom_names),
        trial("rolls::metrics_on_another_port", other_port),
        trial("rolls::nodes_of_other_kinds_are_left_alone", other_nodes),
        trial("rolls::scheduler_and_strict_arp", ipvs_settings),
        trial("rolls::writes_are_counted", writes),
    ]
}

async fn three_nodes(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&[]).await.exits(0).says("/kind", "Remediation").says("/outcome", "done");
    before.switched(&cluster).await;
    let canary = outcome.json["plan"]["canary"].as_str().expect("a canary").to_owned();
    assert_ne!(canary, "node-1", "a worker goes first\n{outcome}");
    for node in ["node-1", "node-2", "node-3"] {
        assert!(outcome.node(node)["outcome"] == "proved" && outcome.node(node)["mode"] == "ipvs", "{outcome}");
    }
    let name = outcome.json["backup"].as_str().expect("a backup").to_owned();
    assert_eq!(cluster.backups().await.keys().collect::<Vec<_>>(), [&name]);
    let events = cluster.events().await;
    assert_eq!(events.first().map(String::as_str), Some("RemediationStarted"), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("RemediationDone"), "{events:?}");
    assert!(events.iter().any(|event| event == "NodesSwitched"), "{events:?}");
    cluster.status(&[]).await.exits(0).says("/totals/right", 3).says("/backups/0/name", name);
}

async fn fifty_nodes(world: &World) {
    let cluster = world.nodes(50).start().await;
    let before = cluster.before().await;
    let (fewest, done) = (Arc::new(AtomicUsize::new(50)), Arc::new(AtomicBool::new(false)));
    let watching = tokio::spawn({
        let (nodes, fewest, done) = (Arc::clone(&cluster.nodes), Arc::clone(&fewest), Arc::clone(&done));
        async move {
            while !done.load(Ordering::SeqCst) {
                fewest.fetch_min(nodes.modes().len(), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    cluster.remediate(&["--max-unavailable", "20%"]).await.exits(0).says("/plan/batchSize", 10);
    done.store(true, Ordering::SeqCst);
    watching.await.expect("it watched");
    assert!(fewest.load(Ordering::SeqCst) >= 40, "only {fewest:?} of 50 ran at a time");
    before.switched(&cluster).await;
}

async fn nothing_to_do(world: &World) {
    let cluster = world.nodes(2).replace("mode: \"\"", "mode: ipvs").start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0).says("/outcome", "nothing-to-do");
    before.untouched(&cluster).await;
    assert!(cluster.backups().await.is_empty());
}

async fn dry_run(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    let outcome = proxy.cluster(&cluster).remediate(&["--dry-run"]).await.exits(0).says("/outcome", "dry-run");
    let diff = outcome.json["plan"]["diff"].as_str().expect("a diff");
    assert!(diff.contains("\n-mode: \"\"\n+mode: \"ipvs\"\n"), "{diff}");
    before.untouched(&cluster).await;
    let wrote: Vec<_> = proxy.seen().into_iter().filter(Asked::writes).map(|asked| asked.to_string()).collect();
    assert!(wrote.is_empty(), "{wrote:?}");
    assert!(proxy.seen().iter().any(|asked| asked.dry_run), "the API server was not asked: {:?}", proxy.counts());
}

async fn no_confirmation(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let run = kpx_prep::start(&cluster.kubeconfig, "remediate", &["--assume-nodes-prepared"]);
    run.end().await.exits(2).mentions("--yes");
    before.untouched(&cluster).await;
}

async fn pause(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--pause-after-canary"]).await.exits(0).says("/outcome", "paused");
    let canary = outcome.json["plan"]["canary"].as_str().expect("a canary");
    assert_eq!(cluster.replaced(&before.pods).await, [canary]);
    before.only_mode_changed(&cluster, "ipvs").await;
    let pods = cluster.pods().await;
    cluster.remediate(&[]).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    assert_eq!(cluster.pods().await[canary], pods[canary], "what runs ipvs already is not restarted");
}

async fn interrupted(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--settle-time", "5s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    run.signal(Signal::SIGINT);
    run.end().await.exits(130).says("/outcome", "interrupted");
    before.only_mode_changed(&cluster, "ipvs").await;
    assert!(cluster.replaced(&before.pods).await.len() < 4);
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn chosen_canary(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-3"]).await.exits(0).says("/plan/canary", "node-3");
    before.switched(&cluster).await;
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-9"]).await.exits(3).finds("error", "canary").mentions("node-9");
    before.untouched(&cluster).await;
}

/// Whoever was interrupted repeats the command as it was, the canary's name included.
async fn same_command(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-3", "--pause-after-canary"]).await.exits(0).says("/outcome", "paused");
    cluster.remediate(&["--canary", "node-3"]).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
}

async fn custom_names(world: &World) {
    let cluster = world.nodes(2).named("net-system", "proxy").start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    cluster.remediate(&["--rollback", "--namespace", "net-system", "--daemonset", "proxy"]).await.exits(0);
    before.rolled_back(&cluster).await;
}

async fn other_port(world: &World) {
    let cluster = world.nodes(2).replace("metricsBindAddress: \"\"", "metricsBindAddress: 0.0.0.0:9999").start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

/// Windows nodes with a DaemonSet of their own, and nodes that run no kube-proxy.
async fn other_nodes(world: &World) {
    let cluster = world.nodes(4).with_other_kinds_of_nodes().start().await;
    cluster.add_windows_kube_proxy().await;
    let before = cluster.before().await;
    assert_eq!(before.pods.len(), 2);
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    let status = cluster.status(&[]).await.exits(0).says("/totals/right", 2).finds("info", "windows");
    status.says("/totals/windows", 1).says("/totals/withoutKubeProxy", 1);
}

async fn ipvs_settings(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let wanted = ["--scheduler", "lc", "--strict-arp", "--exclude-cidrs", "192.0.2.0/24"];
    cluster.remediate(&wanted).await.exits(0);
    let expected = with_mode(before.config(), "ipvs").replace("scheduler: \"\"", "scheduler: \"lc\"");
    let expected = expected.replace("strictARP: false", "strictARP: true");
    let config: serde_yaml::Value = serde_yaml::from_str(&cluster.config().await).expect("YAML");
    assert_eq!(config["ipvs"]["excludeCIDRs"][0], "192.0.2.0/24");
    let kept = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("excludeCIDRs") && !line.contains("192.0.2.0/24"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kept(&cluster.config().await), kept(&expected));
    before.backed_up(&cluster).await;
}

async fn writes(world: &World) {
    let cluster = world.nodes(7).start().await;
    let before = cluster.before().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).remediate(&["--max-unavailable", "2"]).await.exits(0);
    before.switched(&cluster).await;
    let mut counts = proxy.counts();
    println!("remediate on 7 nodes: {counts:?}");
    let kinds: Vec<_> = proxy.seen().iter().filter(|asked| asked.writes()).map(ToString::to_string).collect();
    counts.retain(|kind, _| kinds.contains(kind));
    counts.retain(|kind, _| !kind.contains("leases") && !kind.contains("events"));
    let expected = [("create configmaps", 1), ("delete pods", 7), ("patch configmaps", 1)];
    assert_eq!(counts, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
}
