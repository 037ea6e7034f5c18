//! The fields of Cluster API's objects, and the patches that add them.

use super::options::{ApiVersion, CapiOptions, Format, List, Machines};
use super::script::{SCRIPT, script};

/// The limit for the content of an entry of `files` (`MaxLength=10240` in
/// `api/bootstrap/kubeadm/v1beta2/kubeadmconfig_types.go` of Cluster API, the same in v1beta1).
pub const MAX_BYTES: usize = 10240;

/// `|| exit 1`: cloud-init runs all commands as one script that goes on after a failure.
fn command() -> String {
    format!("sh {SCRIPT} || exit 1")
}

/// Where a kind of object has its `KubeadmConfigSpec`.
struct Target {
    group: &'static str,
    kind: &'static str,
    spec: &'static str,
    machines: Machines,
}

/// Objects that are applied as they are. A `KubeadmConfig` is that of a `MachinePool`.
const OBJECTS: [Target; 3] = [
    Target {
        group: "controlplane.cluster.x-k8s.io",
        kind: "KubeadmControlPlane",
        spec: "/spec/kubeadmConfigSpec",
        machines: Machines::ControlPlane,
    },
    Target {
        group: "bootstrap.cluster.x-k8s.io",
        kind: "KubeadmConfigTemplate",
        spec: "/spec/template/spec",
        machines: Machines::Workers,
    },
    Target { group: "bootstrap.cluster.x-k8s.io", kind: "KubeadmConfig", spec: "/spec", machines: Machines::Workers },
];

/// Templates of a `ClusterClass`, with the selector for each.
const TEMPLATES: [(Target, &str); 2] = [
    (
        Target {
            group: "controlplane.cluster.x-k8s.io",
            kind: "KubeadmControlPlaneTemplate",
            spec: "/spec/template/spec/kubeadmConfigSpec",
            machines: Machines::ControlPlane,
        },
        "controlPlane: true\n",
    ),
    (
        Target {
            group: "bootstrap.cluster.x-k8s.io",
            kind: "KubeadmConfigTemplate",
            spec: "/spec/template/spec",
            machines: Machines::Workers,
        },
        "machineDeploymentClass:\n  names:\n  - \"*\"\n",
    ),
];

impl Target {
    fn is_in(&self, machines: Machines) -> bool {
        machines == Machines::All || machines == self.machines
    }
}

/// The text of the format.
///
/// # Errors
/// If the script is longer than Cluster API accepts.
pub fn render(options: &CapiOptions) -> Result<String, String> {
    let script = script(options);
    if script.len() > MAX_BYTES {
        return Err(format!(
            "the script has {} bytes; Cluster API accepts {MAX_BYTES}. Use fewer or shorter options",
            script.len()
        ));
    }
    let file = format!("path: {SCRIPT}\nowner: root:root\npermissions: \"0700\"\ncontent: |\n{}", indent(&script, 2));
    Ok(match options.format {
        Format::Files => files(&file),
        Format::Patch => component(options, &file),
        Format::ClusterClass => class_patch(options, &file),
    })
}

fn files(file: &str) -> String {
    format!(
        "# For spec.kubeadmConfigSpec of a KubeadmControlPlane, spec.template.spec of a KubeadmConfigTemplate, and spec of a\n\
         # KubeadmConfig. Written by kpx-prep capi.\n\
         files:\n{}preKubeadmCommands:\n\
         # The last of them. With cloud-init, only || exit 1 keeps kubeadm from running after a failure.\n\
         - {}\n",
        item(file),
        command()
    )
}

fn component(options: &CapiOptions, file: &str) -> String {
    let mut text = "# kustomization.yaml of a component: name its folder in components: of a kustomization with Cluster API's objects.\n\
         # Written by kpx-prep capi. \"doc is missing path\" means that an object has no such list: see --create-list.\n\
         apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n"
        .to_owned();
    for target in OBJECTS.iter().filter(|target| target.is_in(options.machines)) {
        let patch = indent(&operations(options, target.spec, file, true), 2);
        let fields = format!("target:\n  group: {}\n  kind: {}\npatch: |-\n{patch}", target.group, target.kind);
        text += &item(&fields);
    }
    text
}

fn class_patch(options: &CapiOptions, file: &str) -> String {
    let version = match options.api_version {
        ApiVersion::V1beta1 => "v1beta1",
        ApiVersion::V1beta2 => "v1beta2",
    };
    let definitions =
        TEMPLATES.iter().filter(|(target, _)| target.is_in(options.machines)).map(|(target, resources)| {
            item(&format!(
                "selector:\n  apiVersion: {}/{version}\n  kind: {}\n  matchResources:\n{}jsonPatches:\n{}",
                target.group,
                target.kind,
                indent(resources, 4),
                operations(options, target.spec, file, false)
            ))
        });
    let patch = format!(
        "name: kpx-prep\ndescription: kube-proxy runs in {} mode from the start\ndefinitions:\n{}",
        options.mode,
        definitions.collect::<String>()
    );
    format!("# For spec of a ClusterClass. Written by kpx-prep capi.\npatches:\n{}", item(&patch))
}

/// The operations on one `KubeadmConfigSpec`, as a list. A list that is created must not exist: where the patch can test
/// that, it does.
fn operations(options: &CapiOptions, spec: &str, file: &str, can_test: bool) -> String {
    let lists = [
        (List::Files, "files", format!("value:\n{}", indent(file, 2)), format!("value:\n{}", item(file))),
        (
            List::PreKubeadmCommands,
            "preKubeadmCommands",
            format!("value: {}\n", command()),
            format!("value:\n- {}\n", command()),
        ),
    ];
    let operation = |(list, name, one, all): (List, &str, String, String)| {
        if !options.create_list.contains(&list) {
            return item(&format!("op: add\npath: {spec}/{name}/-\n{one}"));
        }
        let test =
            if can_test { item(&format!("op: test\npath: {spec}/{name}\nvalue: null\n")) } else { String::new() };
        test + &item(&format!("op: add\npath: {spec}/{name}\n{all}"))
    };
    lists.into_iter().map(operation).collect()
}

/// The lines, indented.
fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{:by$}{line}\n", "") }).collect()
}

/// A mapping as an item of a list.
fn item(fields: &str) -> String {
    let text = indent(fields, 2);
    format!("- {}", text.strip_prefix("  ").unwrap_or(&text))
}
