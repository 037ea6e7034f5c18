//! The manifests in `kubeadm/` that run kpx-prep inside of a cluster: only fields that exist, accounts that the RBAC manifests
//! make, options that the command line accepts. What an API server says to them: `cluster/scenarios/in_cluster.rs`.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use kpx_prep::cli::Cli;
use kpx_prep::image::DEFAULT_NAME;
use kpx_prep::mode::ProxyMode;
use serde_json::{Value, json};

/// The objects of a manifest.
fn objects(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubeadm").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::Deserializer::from_str(&text).map(|one| serde::Deserialize::deserialize(one).unwrap()).collect()
}

/// The only object of a manifest. A field that its type does not have would be lost on the way.
fn only<T: serde::de::DeserializeOwned + serde::Serialize>(file: &str, kind: &str) -> T {
    let [object] = &objects(file)[..] else { panic!("{file} does not hold one object") };
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("batch/v1"), &json!(kind)), "{file}");
    assert_eq!(object["metadata"]["namespace"], "kube-system", "{file}");
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(serde_json::to_value(&typed).unwrap(), *object, "{file}: a field does not exist");
    typed
}

fn job() -> JobSpec {
    only::<Job>("remediate-job.yaml", "Job").spec.unwrap()
}

fn cron_job() -> JobSpec {
    only::<CronJob>("status-cronjob.yaml", "CronJob").spec.job_template.spec.unwrap()
}

fn pod(job: &JobSpec) -> &PodSpec {
    job.template.spec.as_ref().unwrap()
}

fn container(job: &JobSpec) -> &Container {
    let [container] = &pod(job).containers[..] else { panic!("more than one container") };
    container
}

fn words(job: &JobSpec) -> Vec<&str> {
    container(job).args.iter().flatten().map(String::as_str).collect()
}

#[test]
fn the_command_line_accepts_their_options() {
    for job in [job(), cron_job()] {
        // The image's own entry point is the program.
        assert_eq!((&container(&job).command, container(&job).image.as_deref()), (&None, Some(DEFAULT_NAME)));
        let words = words(&job);
        if let Err(error) = Cli::try_parse_from([&["kpx-prep"], &words[..]].concat()) {
            panic!("{words:?}: {error}");
        }
    }
    let job = job();
    let words = words(&job);
    let mode = words.iter().position(|word| *word == "--mode").expect("an explicit mode");
    words[mode + 1].parse::<ProxyMode>().unwrap();
    assert!(words[0] == "remediate" && words.contains(&"--yes"), "nobody answers a question there: {words:?}");
    assert_eq!(self::words(&cron_job())[0], "status");
}

#[test]
fn the_rbac_manifests_make_their_accounts() {
    for (job, rbac) in [(job(), "remediate-rbac.yaml"), (cron_job(), "status-rbac.yaml")] {
        let account = pod(&job).service_account_name.clone().unwrap();
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": "kube-system"});
        let objects = objects(rbac);
        let named =
            |kind: &str, name: &Value| objects.iter().any(|o| o["kind"] == kind && o["metadata"]["name"] == *name);
        assert!(named("ServiceAccount", &subject["name"]), "{rbac} makes no {account}");
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            let bound = objects.iter().filter(|object| object["kind"] == kind);
            let bound: Vec<_> = bound.filter(|object| object["subjects"] == json!([subject])).collect();
            assert_eq!(bound.len(), 1, "{rbac}: {kind}");
            let role = &bound[0]["roleRef"];
            assert!(named(role["kind"].as_str().unwrap(), &role["name"]), "{rbac}: no {role}");
        }
        assert_eq!(pod(&job).automount_service_account_token, Some(true));
    }
}

/// A run that replaces kube-proxy must not depend on it; a check may, and needs no right on a node.
#[test]
fn only_the_remediation_uses_the_network_of_a_node() {
    let (job, cron_job) = (job(), cron_job());
    assert_eq!((pod(&job).host_network, pod(&cron_job).host_network), (Some(true), None));
    let env = container(&job).env.as_ref().unwrap();
    let host = env.iter().find(|variable| variable.name == "KUBERNETES_SERVICE_HOST").unwrap();
    let port = env.iter().find(|variable| variable.name == "KUBERNETES_SERVICE_PORT").unwrap();
    let host = host.value_from.as_ref().unwrap().field_ref.as_ref().unwrap();
    assert_eq!(host.field_path, "status.hostIP");
    port.value.as_ref().unwrap().parse::<u16>().unwrap();
    let terms = serde_json::to_value(pod(&job).affinity.as_ref().unwrap()).unwrap();
    let terms = &terms["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let key = |term: &Value| term["matchExpressions"][0]["key"].as_str().unwrap().to_owned();
    let keys: Vec<String> = terms.as_array().unwrap().iter().map(key).collect();
    assert_eq!(keys, ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"]);
    let tolerated = pod(&job).tolerations.iter().flatten().map(|toleration| toleration.key.clone().unwrap());
    assert_eq!(tolerated.collect::<Vec<_>>(), keys, "the taints of the same nodes");
}

#[test]
fn they_end_once_and_have_no_more_rights_than_they_need() {
    for job in [job(), cron_job()] {
        assert_eq!((job.backoff_limit, pod(&job).restart_policy.as_deref()), (Some(0), Some("Never")));
        assert!(job.active_deadline_seconds.is_some());
        let of_pod = pod(&job).security_context.as_ref().unwrap();
        assert!(of_pod.run_as_non_root == Some(true) && of_pod.run_as_user > Some(0) && of_pod.run_as_group > Some(0));
        assert_eq!(of_pod.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        let own = container(&job).security_context.as_ref().unwrap();
        assert_eq!((own.allow_privilege_escalation, own.read_only_root_filesystem), (Some(false), Some(true)));
        let capabilities = own.capabilities.as_ref().unwrap();
        assert_eq!((capabilities.drop.as_deref(), &capabilities.add), (Some(&["ALL".to_owned()][..]), &None));
        assert_eq!((own.privileged, &pod(&job).volumes, pod(&job).host_pid), (None, &None, None));
        let resources = container(&job).resources.as_ref().unwrap();
        let (requests, limits) = (resources.requests.as_ref().unwrap(), resources.limits.as_ref().unwrap());
        assert!(requests.contains_key("cpu") && requests.contains_key("memory") && limits.contains_key("memory"));
    }
}
