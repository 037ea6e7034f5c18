//! Whether files below a path persist across reboots, from the mount table (proc(5)).
//!
//! The table is read below the root like everything else, and only if it describes that root: in an image, `/proc` may be
//! that of the machine on which the image is built.

mod table;

use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::root::Root;
use table::{Mount, fstab, is_below, mountinfo};

/// File systems in memory: `rootfs` is the initramfs itself if nothing was mounted over it.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// File systems that are always read-only.
const READ_ONLY: [&str; 5] = ["squashfs", "iso9660", "erofs", "cramfs", "romfs"];
/// Union file systems.
const UNIONS: [&str; 6] = ["overlay", "overlayfs", "aufs", "unionfs", "fuse.unionfs-fuse", "fuse.fuse-overlayfs"];
/// Kernel command line words for systems that run from an image with changes in memory: dracut's
/// `dmsquash-live`, Debian's `live-boot`, Ubuntu's `casper`, `overlayroot`, and the overlay of Raspberry Pi OS.
const LIVE: [&str; 8] = [
    "systemd.volatile=yes",
    "systemd.volatile=overlay",
    "rd.live.image",
    "boot=live",
    "boot=casper",
    "overlayroot=tmpfs",
    "boot=overlay",
    "rd.live.overlay.overlayfs",
];
/// Words with which such a system stores its changes on a disk.
const KEPT: [&str; 4] = ["persistence", "persistent", "rd.live.overlay=", "overlayroot=/"];
/// Limit for nested overlays and for following links.
const DEEPEST: usize = 40;

/// Whether files persist across reboots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Nothing indicates that they are lost.
    Yes,
    /// They are lost; with the reason.
    No(String),
    /// They persist but cannot be written; with the reason.
    ReadOnly(String),
    /// Unknown; with the reason.
    Unknown(String),
}

/// The mounts of a host; empty if unknown.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    table: Vec<Mount>,
    /// By the command line, this system runs from an image and changes are not stored.
    live: bool,
    /// By the command line, changes are stored.
    kept: bool,
}

impl Mounts {
    /// Reads the table.
    pub fn observe(root: &Root) -> Self {
        if !is_of_this_root(root) {
            return Self::default();
        }
        // The helper's own mounts are those of its container, so those of the host's first process are used.
        let tables: &[&str] =
            if root.is_host() { &["/proc/self/mountinfo"] } else { &["/proc/1/mountinfo", "/proc/self/mountinfo"] };
        let text = |path: &&str| root.read(path).ok().flatten();
        let command_line = root.read("/proc/cmdline").ok().flatten().unwrap_or_default();
        let mounts = match tables.iter().find_map(text) {
            Some(table) => table.lines().filter_map(mountinfo).collect(),
            None => text(&"/proc/mounts").unwrap_or_default().lines().filter_map(fstab).collect(),
        };
        let mut new = Self::new(mounts, &command_line);
        for mount in &mut new.table {
            // sysfs, Documentation/ABI/testing/sysfs-block-loop
            if let Some(device) = mount.source.strip_prefix("/dev/loop") {
                let file = text(&format!("/sys/block/loop{device}/loop/backing_file").as_str());
                mount.backing = file.map(|file| file.trim().to_owned());
            }
        }
        new
    }

    fn new(mounts: Vec<Mount>, command_line: &str) -> Self {
        let has = |words: &[&str]| {
            command_line.split_whitespace().any(|word| {
                words.iter().any(|known| word == *known || (known.ends_with(['=', '/']) && word.starts_with(known)))
            })
        };
        let kept = has(&KEPT);
        Self { table: mounts, live: has(&LIVE) && !kept, kept }
    }

    /// Whether a file at `path`, and each link on the way to it, persists across reboots.
    pub fn lasting(&self, root: &Root, path: &str) -> Lasting {
        if self.table.is_empty() {
            return Lasting::Yes;
        }
        let places = places(root, path);
        // Files that the system's configuration recreates at each boot persist.
        if places.last().is_some_and(|end| end.starts_with("/nix/store/") || end.starts_with("/gnu/store/")) {
            return Lasting::Yes;
        }
        let mut worst = Lasting::Yes;
        for place in &places {
            match (self.of(place, DEEPEST), &worst) {
                (Lasting::Yes, _) => {}
                (no @ Lasting::No(_), _) => return no,
                (other, Lasting::Yes | Lasting::ReadOnly(_)) => worst = other,
                _ => {}
            }
        }
        worst
    }

    /// Whether the file system prevents running a script at `path`.
    pub fn forbids_execution(&self, root: &Root, path: &str) -> bool {
        places(root, path).last().and_then(|place| self.at(place)).is_some_and(|mount| mount.has("noexec"))
    }

    fn of(&self, path: &str, deeper: usize) -> Lasting {
        let Some(mount) = self.at(path) else { return Lasting::Yes };
        let at = format!("{} ({})", mount.point, mount.kind);
        let device = mount.source.as_str();
        let kind = mount.kind.as_str();
        if IN_MEMORY.contains(&kind) {
            return Lasting::No(format!("{at} is in memory only"));
        }
        if ["/dev/zram", "/dev/ram"].iter().any(|memory| device.starts_with(memory)) {
            return Lasting::No(format!("{at} is on {device}, which is in memory only"));
        }
        // Created by dracut's dmsquash-live from an image and a file in memory.
        if ["/dev/mapper/live-rw", "/dev/mapper/live-base"].contains(&device) && !self.kept {
            return Lasting::No(format!("{at} is a live image with changes in memory only"));
        }
        // A file system in a file persists if the file does.
        if let Some(file) = mount.backing.as_deref().filter(|_| deeper > 0)
            && !READ_ONLY.contains(&kind)
            && let Lasting::No(why) = self.of(file, deeper - 1)
        {
            return Lasting::No(format!("{at} is in {file}, and {why}"));
        }
        if UNIONS.contains(&kind) {
            return self.of_union(mount, &at, deeper);
        }
        if READ_ONLY.contains(&kind) || mount.has("ro") {
            return Lasting::ReadOnly(format!("{at} is read-only"));
        }
        Lasting::Yes
    }

    fn of_union(&self, mount: &Mount, at: &str, deeper: usize) -> Lasting {
        let Some(upper) = mount.upper() else {
            if mount.kind == "overlay" || mount.has("ro") {
                return Lasting::ReadOnly(format!("{at} has no upper layer, so it is read-only"));
            }
            return Lasting::Unknown(format!("it is unknown where {at} stores changes"));
        };
        // As seen from the initramfs, before that root became `/`.
        let moved = upper.strip_prefix("/sysroot").or_else(|| upper.strip_prefix("/root/sysroot"));
        let upper = moved.filter(|rest| rest.starts_with('/') && !self.has_point("/sysroot")).unwrap_or(&upper);
        // It is never within the overlay itself, regardless of its path.
        let others = Self {
            table: self.table.iter().filter(|other| !std::ptr::eq(*other, mount)).cloned().collect(),
            ..self.clone()
        };
        let hidden = !upper.starts_with('/') || deeper == 0 || others.at(upper).is_none();
        if hidden {
            return if self.live {
                Lasting::No(format!("{at} stores changes in memory: this system runs from an image (/proc/cmdline)"))
            } else {
                Lasting::Unknown(format!("{at} stores changes in {upper}, whose file system is unknown"))
            };
        }
        match others.of(upper, deeper - 1) {
            Lasting::No(why) => Lasting::No(format!("{at} stores changes in {upper}, and {why}")),
            Lasting::Unknown(why) => Lasting::Unknown(why),
            // The parent may be read-only while the upper layer is not: it was writable when it was mounted.
            Lasting::Yes | Lasting::ReadOnly(_) if mount.has("ro") => Lasting::ReadOnly(format!("{at} is read-only")),
            Lasting::Yes | Lasting::ReadOnly(_) => Lasting::Yes,
        }
    }

    fn has_point(&self, point: &str) -> bool {
        self.table.iter().any(|mount| mount.point == point)
    }

    /// The mount that contains `path`: step by step from each mount to the one mounted on it.
    fn at(&self, path: &str) -> Option<&Mount> {
        let is_top = |mount: &&Mount| {
            mount.point == "/" && !self.table.iter().any(|other| other.id == mount.parent && other.id != mount.id)
        };
        let knows_parents = self.table.iter().all(|mount| {
            !mount.id.is_empty() && (mount.point == "/" || self.table.iter().any(|other| other.id == mount.parent))
        });
        let top = self.table.iter().rfind(is_top);
        let (Some(top), true) = (top, knows_parents) else {
            // An incomplete table: the longest prefix, and the last one of several.
            return self
                .table
                .iter()
                .filter(|mount| is_below(path, &mount.point))
                .max_by_key(|mount| mount.point.len());
        };
        let mut here = top;
        let prefixes =
            std::iter::once("/").chain(path.match_indices('/').skip(1).map(|(at, _)| &path[..at])).chain([path]);
        for prefix in prefixes {
            for _ in 0..self.table.len() {
                let on_it = |mount: &&Mount| mount.parent == here.id && mount.id != here.id && mount.point == prefix;
                let Some(next) = self.table.iter().rfind(on_it) else { break };
                here = next;
            }
        }
        Some(here)
    }
}

/// Whether the `/proc` below this root describes the root itself.
fn is_of_this_root(root: &Root) -> bool {
    if root.is_host() {
        return true;
    }
    let Ok(proc) = root.folder("/proc") else { return false };
    if fstatfs(&proc).is_ok_and(|system| system.filesystem_type() != PROC_SUPER_MAGIC) {
        return true;
    }
    let Ok(first) = root.of_process("1") else { return false };
    match (fstat(&first), fstat(root)) {
        (Ok(first), Ok(root)) => (first.st_dev, first.st_ino) == (root.st_dev, root.st_ino),
        _ => false,
    }
}

/// The places of `path`: each link on the way, and then the place itself, or its existing part.
fn places(root: &Root, path: &str) -> Vec<String> {
    let mut places = Vec::new();
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut here = String::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                here.truncate(here.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = format!("{here}/{part}");
        match root.read_link(&next) {
            Ok(target) if links < DEEPEST => {
                links += 1;
                if target.starts_with('/') {
                    here.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
                places.push(next);
            }
            _ => here = next,
        }
    }
    places.push(if here.is_empty() { "/".to_owned() } else { here });
    places
}

#[cfg(test)]
mod tests;
