//! The programs that show and change what kube-proxy made: those of its own container, which fit it, else the host's.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::process;
use crate::node::chroot;
use crate::node::root::Root;

const FOLDERS: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// How many links of its name are followed; alternatives(8) makes two.
const LINKS: usize = 8;

/// Where programs may be, the best place first.
pub struct Toolbox {
    places: Vec<Root>,
}

/// A program, and the tree it has to see as its `/`.
#[derive(Clone, Debug)]
pub struct Tool {
    root: Root,
    path: String,
}

/// What a program answered.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, trimmed.
    pub stderr: String,
    /// Whether it called itself successful.
    pub success: bool,
}

impl Toolbox {
    /// The programs of kube-proxy's container, if it runs, and those of the host.
    pub fn new(root: &Root) -> Self {
        let container = process::find(root).and_then(|id| root.of_process(&id).ok());
        Self { places: container.into_iter().chain([root.clone()]).collect() }
    }

    /// Only the host's programs.
    pub fn of_host(root: &Root) -> Self {
        Self { places: vec![root.clone()] }
    }

    /// The first program of this name.
    pub fn find(&self, name: &str) -> Option<Tool> {
        self.places.iter().find_map(|root| Tool::find(root, name))
    }

    /// Both programs, for each place that has both.
    pub fn find_both(&self, names: [&str; 2]) -> impl Iterator<Item = [Tool; 2]> {
        self.places.iter().filter_map(move |root| Some([Tool::find(root, names[0])?, Tool::find(root, names[1])?]))
    }
}

impl Tool {
    fn find(root: &Root, name: &str) -> Option<Self> {
        let paths = FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
        let path = paths.into_iter().find(|path| root.exists(path))?;
        Some(Self { root: root.clone(), path })
    }

    /// Its name without the folder.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it sees this process in its `/proc`, and so the network in `/proc/net`.
    pub fn sees_us(&self) -> bool {
        self.root.exists("/proc/self/net")
    }

    /// Where a link of its name leads, such as to a wrapper script.
    pub fn leads_to(&self) -> String {
        let mut path = self.path.clone();
        for _ in 0..LINKS {
            let Ok(target) = self.root.read_link(&path) else { break };
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            path = if target.starts_with('/') { target } else { format!("{folder}/{target}") };
        }
        path
    }

    /// Runs it and waits for its end.
    ///
    /// # Errors
    /// When it could not be run at all.
    pub fn run(&self, arguments: &[&str], input: Option<&str>) -> io::Result<Said> {
        let mut command = Command::new(&self.path);
        command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", FOLDERS.join(":"));
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        chroot::enter(&mut command, &self.root);
        tracing::debug!("{} {} below {}", self.path, arguments.join(" "), self.root.path().display());
        let mut child = command.spawn()?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that ends without reading says why in its own words.
            if let Err(error) = stdin.write_all(text.as_bytes())
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(error);
            }
        }
        let output = child.wait_with_output()?;
        Ok(Said {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            success: output.status.success(),
        })
    }
}
