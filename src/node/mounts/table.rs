//! The mount table: `/proc/PID/mountinfo`, or `/proc/mounts` if that does not exist (proc(5)).

/// One mount.
#[derive(Clone, Debug, Default)]
pub(super) struct Mount {
    /// Its number; empty if the table has none.
    pub(super) id: String,
    /// The number of the mount on which it is mounted.
    pub(super) parent: String,
    /// Its mount point.
    pub(super) point: String,
    /// Its own options and those of its file system.
    pub(super) options: Vec<String>,
    /// The type of its file system.
    pub(super) kind: String,
    /// The device, or its equivalent.
    pub(super) source: String,
    /// The file behind a loop device.
    pub(super) backing: Option<String>,
}

impl Mount {
    /// Whether it has this option.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// The writable layer of a union mount: overlay's `upperdir=`, or the writable branch of another kind.
    pub(super) fn upper(&self) -> Option<String> {
        let value = |key: &str| self.options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        if let Some(upper) = value("upperdir") {
            return Some(upper.to_owned());
        }
        let branches = value("br").or_else(|| value("dirs"))?.to_owned();
        branches.split(':').find_map(|branch| branch.strip_suffix("=rw").map(str::to_owned))
    }
}

/// Whether `path` is `point` or below it.
pub(super) fn is_below(path: &str, point: &str) -> bool {
    point == "/" || path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER-OPTIONS`
pub(super) fn mountinfo(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let (id, parent) = (before.next()?.to_owned(), before.next()?.to_owned());
    let point = plain(before.nth(2)?);
    let own = before.next()?;
    let mut after = after.split(' ');
    let (kind, source, all) = (after.next()?.to_owned(), plain(after.next()?), after.next().unwrap_or_default());
    Some(Mount { id, parent, point, options: options(&[own, all]), kind, source, backing: None })
}

/// `SOURCE POINT TYPE OPTIONS 0 0`
pub(super) fn fstab(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let (source, point, kind) = (plain(fields.next()?), plain(fields.next()?), fields.next()?.to_owned());
    Some(Mount { point, kind, source, options: options(&[fields.next()?]), ..Mount::default() })
}

fn options(lists: &[&str]) -> Vec<String> {
    lists.iter().flat_map(|list| list.split(',')).map(plain).collect()
}

/// Spaces and other characters are written as `\040`.
fn plain(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let code = (*first == b'\\')
            .then(|| rest.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok()));
        plain.push(code.unwrap_or(*first));
        bytes = if code.is_some() { &rest[3..] } else { rest };
    }
    String::from_utf8_lossy(&plain).into_owned()
}
