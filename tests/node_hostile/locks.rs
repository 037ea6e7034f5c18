//! The node's lock: nobody but root holds it, and never two at once.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use kpx_prep::node::lock::NodeLock;
use kpx_prep::node::root::Root;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;

use super::{differences, folder, kpx_prep, miniature, said, tree};

const NOBODY: u32 = 65534;

/// `flock /etc` and the like, which any user can do.
pub(crate) fn of_others() {
    let (_folder, root) = miniature();
    let before = tree::snapshot(&root);
    let mut commands = Vec::new();
    let mut locks = Vec::new();
    let places = [root.clone(), root.join("etc"), root.join("run"), root.join("etc/os-release")];
    for place in &places {
        if nix::unistd::geteuid().is_root() {
            let script = "echo locked; exec sleep 60";
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock"])
                .arg(place)
                .args(["sh", "-c", script]);
            fs::set_permissions(root.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
            let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut word = [0; 7];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
            commands.push(child);
        } else {
            locks.push(Flock::lock(File::open(place).unwrap(), FlockArg::LockExclusive).unwrap());
        }
    }
    let install = said(&mut kpx_prep(&root, "node install --no-load"));
    let remove = said(&mut kpx_prep(&root, "node remove"));
    for mut child in commands {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!((install.0, remove.0), (0, 0), "{} {}", install.1, remove.1);
    assert_eq!(differences(&before, &tree::snapshot(&root)), Vec::<String>::new(), "no lock stays behind");
}

/// Something else in the lock's place is neither locked nor followed nor removed.
pub(crate) fn not_ours() {
    let (folder, root) = miniature();
    let lock = root.join("run/kpx-prep.lock");
    let outside = folder.path().join("outside");
    fs::write(&outside, "theirs").unwrap();
    let private = |content: &str, mode| {
        fs::write(&lock, content).unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(mode)).unwrap();
    };
    let ways: [(&str, &dyn Fn()); 7] = [
        ("not created by kpx-prep", &|| private("", 0o644)),
        ("not created by kpx-prep", &|| private("/srv\n", 0o600)),
        ("not created by kpx-prep", &|| {
            private("", 0o600);
            fs::hard_link(&lock, root.join("run/other")).unwrap();
        }),
        ("not a regular file", &|| symlink(&outside, &lock).unwrap()),
        ("not a regular file", &|| symlink("nowhere", &lock).unwrap()),
        ("not a regular file", &|| nix::unistd::mkfifo(&lock, Mode::S_IRUSR).unwrap()),
        ("not a regular file", &|| fs::create_dir(&lock).unwrap()),
    ];
    for (why, make) in ways {
        make();
        let before = lock.symlink_metadata().unwrap();
        let (exit, text) = said(&mut kpx_prep(&root, "node install --no-load"));
        assert_eq!(exit, 1, "{text}");
        assert!(text.contains("kpx-prep.lock failed; nothing was changed: ") && text.contains(why), "{text}");
        let after = lock.symlink_metadata().unwrap();
        assert_eq!((before.file_type(), before.len()), (after.file_type(), after.len()));
        assert!(!root.join("etc/modules-load.d").exists());
        let _ = fs::remove_file(root.join("run/other"));
        if after.is_dir() { fs::remove_dir(&lock) } else { fs::remove_file(&lock) }.unwrap();
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "theirs");
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
}

/// Not even where it looks like one of ours.
pub(crate) fn of_another_user() {
    let (_folder, root) = miniature();
    let lock = root.join("run/kpx-prep.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&lock, Some(NOBODY), Some(NOBODY)).unwrap();
    let (exit, text) = said(&mut kpx_prep(&root, "node install --no-load"));
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("not created by kpx-prep; remove it"), "{text}");
    for command in ["node clean --metrics-port 1", "node remove --unload"] {
        let (exit, text) = said(&mut kpx_prep(&root, command));
        assert!(exit == 1 && text.contains("not created by kpx-prep; remove it"), "{command}: {exit} {text}");
    }
    // What changes nothing needs no lock.
    fs::remove_file(&lock).unwrap();
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
    symlink("nowhere", &lock).unwrap();
    let (exit, text) = said(&mut kpx_prep(&root, "node install --no-load"));
    assert!(exit == 0 && text.contains("already prepared"), "{exit} {text}");
}

/// Also while the file comes and goes with each holder; in `/run`, and in the root folder where there is no `/run`.
pub(crate) fn one_at_a_time() {
    for with_run in [true, false] {
        let folder = folder();
        if with_run {
            fs::create_dir(folder.path().join("run")).unwrap();
        }
        let root = Root::new(folder.path()).unwrap();
        let (holders, taken, refused) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        // On a busy machine they may not meet for a while.
        let enough = |taken| taken >= 500 && (refused.load(Ordering::SeqCst) > 0 || taken >= 100_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !enough(taken.load(Ordering::SeqCst)) {
                        let Ok(lock) = NodeLock::take(&root) else {
                            refused.fetch_add(1, Ordering::SeqCst);
                            continue;
                        };
                        lock.held().unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                        std::thread::yield_now();
                        taken.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        println!("taken {} times, refused {} times", taken.into_inner(), refused.load(Ordering::SeqCst));
        assert!(refused.into_inner() > 0, "they never met");
        assert_eq!(root.list(if with_run { "/run" } else { "/" }), Vec::<String>::new());
    }
}

/// A run that was killed between making a folder and writing the file into it, or between removing the two.
pub(crate) fn note_of_a_killed_run() {
    let killed = |root: &std::path::Path| {
        fs::create_dir_all(root.join("etc/sysconfig/modules")).unwrap();
        fs::write(root.join("run/kpx-prep.lock"), "/etc/sysconfig\n/etc/sysconfig/modules\n").unwrap();
        fs::set_permissions(root.join("run/kpx-prep.lock"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (_folder, root) = miniature();
    let before = tree::snapshot(&root);
    killed(&root);
    assert_eq!(said(&mut kpx_prep(&root, "node remove")).0, 0);
    assert_eq!(differences(&before, &tree::snapshot(&root)), Vec::<String>::new(), "removed at once");
    killed(&root);
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
    assert!(!root.join("run/kpx-prep.lock").exists());
    assert_eq!(said(&mut kpx_prep(&root, "node remove")).0, 0);
    assert_eq!(differences(&before, &tree::snapshot(&root)), Vec::<String>::new(), "taken over by install");
    // What was there before install stays, and so does what others put into a folder since.
    fs::create_dir_all(root.join("etc/sysconfig")).unwrap();
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
    fs::write(root.join("etc/modules-load.d/theirs.conf"), "loop\n").unwrap();
    assert_eq!(said(&mut kpx_prep(&root, "node remove")).0, 0);
    let left = differences(&before, &tree::snapshot(&root));
    assert_eq!(left, ["+ etc/modules-load.d/", "+ etc/modules-load.d/theirs.conf 0644", "+ etc/sysconfig/"]);
    // A run that was killed when it had done everything leaves nothing to be done.
    let (_folder, root) = miniature();
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
    let installed = tree::snapshot(&root);
    killed(&root);
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0);
    assert_eq!(differences(&installed, &tree::snapshot(&root)), Vec::<String>::new());
    // A run that may change nothing keeps the note.
    assert_eq!(said(&mut kpx_prep(&root, "node remove")).0, 0);
    killed(&root);
    fs::remove_file(root.join("usr/lib/systemd/system/systemd-modules-load.service")).unwrap();
    assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 3);
    assert!(fs::read_to_string(root.join("run/kpx-prep.lock")).unwrap().contains("/etc/sysconfig/modules"));
}
