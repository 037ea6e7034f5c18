//! The programs that read and change kube-proxy's objects: those of its own container, which match it, else the host's.
//!
//! A container's programs run with the host's root rights, so they are used only if that gives the container no additional
//! rights: if the kube-proxy process in it has all capabilities itself. Dropping capabilities instead is not sufficient: uid
//! 0 with only `CAP_NET_ADMIN` can still signal root's processes and write root's files.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use super::candidate::{Candidate, Verdict, judge};
use crate::bounded_command::limits::{LITTLE, Limits};
use crate::bounded_command::{self, Ended};
use crate::node::kube_proxy::process;
use crate::node::root::{Root, chroot};
use crate::report::{Finding, Level, finding};

const FOLDERS: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// What is known about kube-proxy from the cluster.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The ids of its pods as in the kubelet's cgroup names: the UID, or a static pod's `kubernetes.io/config.hash`.
    /// Without any, kube-proxy's process is identified by its name and rights only.
    pub pods: Vec<String>,
    /// Number of Services in the cluster; limits scale with it.
    pub services: usize,
    /// The file tree that has kube-proxy's programs, if it is not that of its process: in the node helper, which runs in
    /// kube-proxy's image, its own.
    pub tools: Option<Root>,
}
/// Limit for following links; alternatives(8) uses two.
const LINKS: usize = 8;

/// The places to search for programs, by priority.
pub struct Toolbox {
    places: Vec<Root>,
    /// Whether the first place is kube-proxy's own.
    kube_proxys: bool,
    limits: Limits,
    note: Option<Finding>,
}

/// A program, and the root in which it runs.
#[derive(Clone, Debug)]
pub struct Tool {
    root: Root,
    path: String,
    limits: Limits,
}

/// The result of a program.
#[derive(Clone, Debug)]
pub struct ToolOutput {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, trimmed.
    pub stderr: String,
    /// Whether it exited successfully.
    pub success: bool,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Toolbox {
    /// The programs of `tools` or of kube-proxy's container, if it runs and is trusted, and those of the host.
    pub fn new(root: &Root, known: &Known) -> Self {
        let limits = Limits::for_services(known.services);
        if let Some(tools) = &known.tools {
            let places = [tools, root].into_iter().filter_map(trusted).collect();
            return Self { places, kube_proxys: tools.may_run_programs(), limits, note: None };
        }
        let (candidates, place) = process::observe(root);
        let (container, note) = match judge(candidates, &place, &known.pods) {
            Verdict::One(found) if found.holds_all(&place) => match tree_of(root, &found) {
                Some(tree) => (Some(tree), None),
                None => (None, Some(hosts_only(Level::Info, "kube-proxy's process has just ended"))),
            },
            Verdict::One(found) => {
                let why = format!("kube-proxy's process {} does not have all capabilities", found.id);
                (None, Some(hosts_only(Level::Info, &why)))
            }
            Verdict::None => (None, Some(hosts_only(Level::Info, "no kube-proxy process found on this host"))),
            Verdict::Several(ids) => (None, Some(several(&ids))),
        };
        let (hosts, note) = match trusted(root) {
            Some(root) => (Some(root), note),
            None => (None, Some(foreign_tree(root))),
        };
        let kube_proxys = container.is_some();
        Self { places: container.into_iter().chain(hosts).collect(), kube_proxys, limits, note }
    }

    /// Only the host's programs.
    pub fn of_host(root: &Root) -> Self {
        Self { places: trusted(root).into_iter().collect(), kube_proxys: false, limits: LITTLE, note: None }
    }

    /// Why only the host's programs are used, if they are.
    pub fn note(&self) -> Option<&Finding> {
        self.note.as_ref()
    }

    /// Finds the first program of this name.
    pub fn find(&self, name: &str) -> Option<Tool> {
        self.places.iter().find_map(|root| self.find_in(root, name))
    }

    /// Whether it has programs of kube-proxy's container or image, not only those of the host.
    pub fn has_kube_proxys(&self) -> bool {
        self.kube_proxys
    }

    /// Finds the program of this name in kube-proxy's container or image.
    pub fn find_kube_proxys(&self, name: &str) -> Option<Tool> {
        self.places.first().filter(|_| self.kube_proxys).and_then(|root| self.find_in(root, name))
    }

    /// Both programs, from each place that has both.
    pub fn find_both(&self, names: [&str; 2]) -> impl Iterator<Item = [Tool; 2]> {
        self.places.iter().filter_map(move |root| Some([self.find_in(root, names[0])?, self.find_in(root, names[1])?]))
    }

    fn find_in(&self, root: &Root, name: &str) -> Option<Tool> {
        let paths = FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
        let path = paths.into_iter().find(|path| root.exists(path))?;
        Some(Tool { root: root.clone(), path, limits: self.limits })
    }
}

/// The process's root, if it is still the same process: its id may have been reused.
fn tree_of(root: &Root, found: &Candidate) -> Option<Root> {
    let tree = root.of_process(&found.id).ok()?;
    let again = process::candidate(root, found.id.clone());
    (again == *found).then_some(tree)
}

/// The root, if its programs may run with this process's rights.
fn trusted(root: &Root) -> Option<Root> {
    root.may_run_programs().then(|| root.clone())
}

fn foreign_tree(root: &Root) -> Finding {
    finding(
        Level::Error,
        "foreign-tree",
        format!("{} belongs to another user, so its programs are not run", root.path().display()),
        "set --root to a tree that is owned by root and not writable by other users",
    )
}

fn hosts_only(level: Level, why: &str) -> Finding {
    finding(level, "host-programs", format!("{why}; using the host's programs"), "")
}

fn several(ids: &[String]) -> Finding {
    finding(
        Level::Error,
        "kube-proxy-ambiguous",
        format!("several processes could be kube-proxy (process {}); none of their programs is used", ids.join(", ")),
        "stop the one that is not kube-proxy, or set --pod to the UID of kube-proxy's pod",
    )
}

impl Tool {
    /// Its name without the folder.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether its `/proc` contains this process, and so the network in `/proc/net`.
    pub fn sees_us(&self) -> bool {
        self.root.exists("/proc/self/net")
    }

    /// The target of links, such as a wrapper script.
    pub fn leads_to(&self) -> String {
        let mut path = self.path.clone();
        for _ in 0..LINKS {
            let Ok(target) = self.root.read_link(&path) else { break };
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            path = if target.starts_with('/') { target } else { format!("{folder}/{target}") };
        }
        path
    }

    /// Runs it and waits for its end; for small outputs.
    ///
    /// # Errors
    /// If it could not be started, or exceeded the limits.
    pub fn run(&self, arguments: &[&str], input: Option<&str>) -> io::Result<ToolOutput> {
        let mut stdout = String::new();
        let limits = Limits { time: self.limits.time, ..LITTLE };
        let ended = self.bounded(arguments, input, limits, &mut |line| {
            stdout.push_str(line);
            stdout.push('\n');
        })?;
        let (success, signal) = (ended.status.success(), ended.status.signal());
        Ok(ToolOutput { stdout, stderr: ended.stderr, success, signal })
    }

    /// Runs it and passes on its output line by line.
    ///
    /// # Errors
    /// If it could not be started, failed, or exceeded the limits: the reason in one sentence.
    pub fn read(&self, arguments: &[&str], each: &mut dyn FnMut(&str)) -> Result<(), String> {
        match self.bounded(arguments, None, self.limits, each) {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) if !ended.stderr.is_empty() => Err(ended.stderr),
            Ok(ended) => Err(format!("it failed without an error message ({})", ended.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn bounded(
        &self,
        arguments: &[&str],
        input: Option<&str>,
        limits: Limits,
        each: &mut dyn FnMut(&str),
    ) -> io::Result<Ended> {
        let mut command = Command::new(&self.path);
        command.args(arguments).env_clear();
        chroot::enter(&mut command, &self.root);
        tracing::debug!("{} {} below {}", self.path, arguments.join(" "), self.root.path().display());
        bounded_command::run(command, input, limits, each)
    }
}
