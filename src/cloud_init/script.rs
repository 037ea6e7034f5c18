//! The script that a node runs, assembled from files that are each plain POSIX shell.

use clap::ValueEnum as _;

use super::options::{Binary, Config, DEFAULT_BINARY, NodeOptions, Role};
use crate::mode::ProxyMode;

/// Where the kubeadm config is on the node.
pub(super) const CONFIG: &str = "/etc/kpx-prep/kubeadm.yaml";

/// The whole script.
pub(super) fn script(options: &NodeOptions) -> String {
    let (action, result) = match options.role {
        Role::ControlPlane => ("init", "/etc/kubernetes/admin.conf"),
        Role::ControlPlaneJoin | Role::Worker => ("join", "/etc/kubernetes/kubelet.conf"),
    };
    let upload = if options.upload_certs { " --upload-certs" } else { "" };
    [
        include_str!("boot/start.sh").to_owned(),
        options.binary.as_ref().map(get_binary).unwrap_or_default(),
        prepare(options),
        format!("\naction={action} result={result} config={CONFIG}\n"),
        include_str!("boot/kubeadm.sh").to_owned(),
        make_config(&options.config),
        format!("kubeadm {action} --config \"$config\"{upload} || fail \"kubeadm {action} failed\"\n"),
        include_str!("boot/end.sh").to_owned(),
    ]
    .concat()
}

fn prepare(options: &NodeOptions) -> String {
    if !options.mode.traits().is_prepared {
        return String::new();
    }
    let mechanism = options.boot_mechanism.and_then(|mechanism| mechanism.to_possible_value());
    // ipvs is the default, and a kpx-prep that is on the node may be older than --mode.
    let mode = (options.mode != ProxyMode::Ipvs).then(|| options.mode.to_string());
    let given = [
        ("--mode", mode),
        ("--kubernetes-version", Some(options.version.to_string())),
        ("--scheduler", options.scheduler.clone()),
        ("--boot-mechanism", mechanism.map(|value| value.get_name().to_owned())),
    ];
    let arguments: String =
        given.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", quote(&value?)))).collect();
    format!(
        "\n# Load the modules first, now and at every boot; kubeadm runs only on a prepared node.\n\
         rc=0\n\"$kpx\" node install{arguments} || rc=$?\n{}",
        include_str!("boot/prepared.sh")
    )
}

fn make_config(config: &Config) -> String {
    let Config::MadeOnNode(arguments) = config else {
        return String::new();
    };
    let words: Vec<_> = arguments.iter().map(|argument| quote(argument)).collect();
    format!(
        "# The secrets exist on the node only, so the config is generated here.\n\
         \"$kpx\" {} \\\n  --output-file \"$config\" || fail \"generating the kubeadm config failed\"\n",
        words.join(" \\\n  ")
    )
}

fn get_binary(binary: &Binary) -> String {
    let verify = include_str!("boot/verify.sh");
    match binary {
        Binary::Url { url, sha256 } => format!(
            "\n# Verify the binary before it is run.\nkpx={DEFAULT_BINARY}\nurl={}\nsha256={sha256}\n{verify}{}",
            quote(url),
            include_str!("boot/download.sh")
        ),
        Binary::Path { path, sha256: None } => {
            format!("\nkpx={}\n{}", quote(path), include_str!("boot/present.sh"))
        }
        Binary::Path { path, sha256: Some(sha256) } => format!(
            "\n# Verify the binary before it is run.\nkpx={}\nsha256={sha256}\n{verify}{}{}",
            quote(path),
            include_str!("boot/present.sh"),
            include_str!("boot/present_verified.sh")
        ),
    }
}

/// A word for the shell: unchanged if that is safe, else in single quotes.
fn quote(word: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_shell_reads_a_quoted_word_unchanged() {
        for word in ["", "a", "it's", "$HOME `id` \"x\" \\ *", "--a=b,c", "a;b", "é", "'", "# x"] {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quote(word))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
