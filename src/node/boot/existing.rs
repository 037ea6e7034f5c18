//! What exists at the paths that kpx-prep may write on a node.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context as _;

use super::files::{Existing, PATHS, folders_of};
use crate::file_kind::{is_link, is_regular, mode_of};
use crate::folder::is_absent;
use crate::node::root::Root;

/// Examines every path that kpx-prep may write.
///
/// # Errors
/// If a path cannot be examined, for example without permission.
pub fn observe(root: &Root) -> anyhow::Result<BTreeMap<&'static str, Existing>> {
    let look = |path| {
        let existing = examine(root, path).with_context(|| format!("examining {}", root.display(path).display()))?;
        Ok((path, existing))
    };
    PATHS.iter().copied().map(look).collect()
}

fn examine(root: &Root, path: &str) -> io::Result<Existing> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let held = match root.folder(folder) {
        Ok(held) => held,
        Err(error) if is_absent(&error) => return folder_in_the_way(root, path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        Err(error) => return Ok(Existing::InTheWay(format!("{folder}: {error}"))),
    };
    let Some(stat) = held.stat(name)? else { return Ok(Existing::Absent { missing: Vec::new() }) };
    if is_link(&stat) {
        return Ok(Existing::InTheWay(format!("{path} is a symbolic link to {}", held.read_link(name)?)));
    }
    if !is_regular(&stat) {
        return Ok(Existing::InTheWay(format!("{path} is not a regular file")));
    }
    match held.read(name) {
        Ok(Some((content, stat))) => {
            let content = String::from_utf8_lossy(&content).into_owned();
            Ok(Existing::File { content, mode: mode_of(&stat) })
        }
        Ok(None) => Ok(Existing::Absent { missing: Vec::new() }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(error) => Ok(Existing::InTheWay(format!("{path}: {error}"))),
    }
}

/// Why a missing file could not be created. Folders may be links set up by an administrator; they are followed only
/// within the root, and must lead to a folder.
fn folder_in_the_way(root: &Root, path: &str) -> io::Result<Existing> {
    let mut missing = folders_of(path);
    while let Some(above) = missing.first() {
        if !root.is_dir(above) {
            match root.lstat(above)? {
                Some(stat) if is_link(&stat) => {
                    return Ok(Existing::InTheWay(format!(
                        "{above} is a symbolic link that does not lead to a folder"
                    )));
                }
                Some(_) => return Ok(Existing::InTheWay(format!("{above} is not a folder"))),
                None => break,
            }
        }
        missing.remove(0);
    }
    Ok(Existing::Absent { missing })
}
