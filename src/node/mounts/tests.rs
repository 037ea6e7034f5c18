use super::*;

fn word(lasting: &Lasting) -> &'static str {
    match lasting {
        Lasting::Yes => "yes",
        Lasting::No(_) => "no",
        Lasting::ReadOnly(_) => "read-only",
        Lasting::Unknown(_) => "unknown",
    }
}

#[test]
fn persistence_across_reboots() {
    const DISK: &str = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
    // table, command line, whether /etc/modules-load.d/x persists
    let cases = [
        ("", "", "yes"),
        (DISK, "", "yes"),
        // A disk with a memory file system mounted on it.
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etc rw - tmpfs tmpfs rw\n", "", "no"),
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etc/modules-load.d rw - ramfs none rw\n", "", "no"),
        ("25 1 0:2 / / rw - rootfs rootfs rw\n", "", "no"),
        ("25 1 252:0 / / rw - ext4 /dev/zram0 rw\n", "", "no"),
        // Only another part is in memory.
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etc/kubernetes rw - tmpfs tmpfs rw\n", "", "yes"),
        ("25 1 0:2 / / rw - tmpfs tmpfs rw\n30 25 8:1 /etc /etc rw - ext4 /dev/sda1 rw\n", "", "yes"),
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etcetera rw - tmpfs tmpfs rw\n", "", "yes"),
        // Mounted over again.
        (
            "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etc rw - tmpfs tmpfs rw\n31 30 8:1 /e /etc rw - ext4 /dev/sda1 rw\n",
            "",
            "yes",
        ),
        ("2 1 0:2 / / rw - rootfs rootfs rw\n25 2 8:1 / / rw - ext4 /dev/sda1 rw\n", "", "yes"),
        (
            "2 1 0:2 / / rw - tmpfs tmpfs rw\n9 2 8:2 / /etc rw - ext4 /dev/sdb rw\n25 2 0:9 / / rw - tmpfs tmpfs rw\n",
            "",
            "no",
        ),
        // An overlay persists if its upper layer does.
        (
            "25 1 8:1 / / ro - ext4 /dev/sda1 ro\n30 25 0:27 / /etc rw - overlay overlay rw,lowerdir=/etc,upperdir=/run/overlay/etc/upper,workdir=/run/w\n31 25 0:28 / /run rw - tmpfs tmpfs rw\n",
            "",
            "no",
        ),
        (
            "25 1 8:1 / / ro - ext4 /dev/sda1 ro\n30 25 0:27 / /etc rw - overlay overlay rw,lowerdir=/etc,upperdir=/var/lib/overlay/2/etc,workdir=/var/w\n31 25 8:2 / /var rw - xfs /dev/sda2 rw\n",
            "",
            "yes",
        ),
        (
            "25 1 8:1 / / rw - ext4 /dev/sda9 rw\n30 25 0:27 / /etc rw - overlay overlay rw,lowerdir=/usr/share/etc,upperdir=/sysroot/etc,workdir=/sysroot/.w\n",
            "",
            "yes",
        ),
        (
            "25 1 8:1 / / ro - btrfs /dev/sda ro\n30 25 0:27 / /etc rw - overlay overlay rw,lowerdir=/sysroot/etc,upperdir=/sysroot/var/lib/overlay/2/etc,workdir=/w\n31 25 0:9 / /var rw - tmpfs tmpfs rw\n",
            "",
            "no",
        ),
        (
            "25 1 0:27 / / rw - overlay overlay rw,lowerdir=/lower,upperdir=/up\\040per/d,workdir=/w\n26 25 0:2 / /up\\040per rw - tmpfs tmpfs rw\n",
            "",
            "no",
        ),
        (
            "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:27 / /etc rw - overlay overlay rw,lowerdir=/a,upperdir=/o/u,workdir=/w\n31 25 0:3 / /o rw - overlay overlay rw,lowerdir=/b,upperdir=/run/u\n32 25 0:4 / /run rw - tmpfs run rw\n",
            "",
            "no",
        ),
        ("25 1 0:27 / / rw - overlay overlay ro,lowerdir=/a:/b\n", "", "read-only"),
        // The upper layer is not visible.
        (
            "25 1 0:27 / / rw - overlay /cow rw,lowerdir=/a.squashfs,upperdir=/cow/upper,workdir=/cow/work\n",
            "",
            "unknown",
        ),
        (
            "25 1 0:27 / / rw - overlay /cow rw,lowerdir=/a.squashfs,upperdir=/cow/upper,workdir=/cow/work\n",
            "boot=casper quiet",
            "no",
        ),
        (
            "25 1 0:27 / / rw - overlay /cow rw,lowerdir=/a.squashfs,upperdir=/cow/upper,workdir=/cow/work\n",
            "boot=casper persistent",
            "unknown",
        ),
        ("25 1 0:27 / / rw - aufs none rw,si=1234\n", "", "unknown"),
        ("25 1 0:27 / / rw - aufs none rw,br:/x\n", "", "unknown"),
        ("25 1 0:27 / / rw - aufs none rw,br=/rw=rw:/ro=ro\n26 25 0:2 / /rw rw - tmpfs tmpfs rw\n", "", "no"),
        ("25 1 253:1 / / rw - ext4 /dev/mapper/live-rw rw\n", "root=live:CDLABEL=x rd.live.image", "no"),
        ("25 1 253:1 / / rw - ext4 /dev/mapper/live-rw rw\n", "rd.live.image rd.live.overlay=LABEL=x", "yes"),
        // Read-only images.
        ("25 1 7:0 / / ro - squashfs /dev/loop0 ro\n", "", "read-only"),
        ("25 1 8:1 / / ro,relatime - ext4 /dev/sda1 rw\n", "", "read-only"),
        // Network file systems, or through a hypervisor.
        ("25 1 0:9 / / rw - nfs4 server:/root rw\n", "", "yes"),
        ("25 1 0:9 / / rw - virtiofs root rw\n", "", "yes"),
        // An incomplete table.
        ("30 25 0:27 / /etc rw - tmpfs tmpfs rw\n", "", "no"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let root = Root::new(folder.path()).unwrap();
    for (table, command_line, expected) in cases {
        let mounts = Mounts::new(table.lines().filter_map(mountinfo).collect(), command_line);
        let lasting = mounts.lasting(&root, "/etc/modules-load.d/x");
        assert_eq!(word(&lasting), expected, "{lasting:?}\n{table}");
    }
}

#[test]
fn a_file_system_in_a_file_persists_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            "proc/1/mountinfo",
            "25 1 7:0 / / ro - squashfs /dev/loop0 ro\n26 25 0:20 / /run rw - tmpfs tmpfs rw\n\
                 27 26 7:1 / /run/ephemeral rw - xfs /dev/loop1 rw\n\
                 28 25 0:40 / /etc rw - overlay overlay rw,lowerdir=/etc,upperdir=/run/ephemeral/etc/upper\n",
        ),
        ("sys/block/loop1/loop/backing_file", "/run/ephemeral.xfsloop\n"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = Root::new(folder.path()).unwrap();
    let lasting = Mounts::observe(&root).lasting(&root, "/etc/x");
    assert_eq!(word(&lasting), "no", "{lasting:?}");
}

#[test]
fn links_on_the_way_are_checked() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    for made in ["etc", "persist/lists", "nix/store/a/etc"] {
        std::fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    symlink("/persist/lists", folder.path().join("etc/modules-load.d")).unwrap();
    symlink("/nix/store/a/etc", folder.path().join("etc/static")).unwrap();
    symlink("/run/x", folder.path().join("persist/gone")).unwrap();
    let root = Root::new(folder.path()).unwrap();
    let of = |table: &str, path: &str| {
        word(&Mounts::new(table.lines().filter_map(mountinfo).collect(), "").lasting(&root, path))
    };
    let in_memory = "25 1 0:2 / / rw - tmpfs tmpfs rw\n26 25 8:1 / /persist rw - ext4 /dev/sda1 rw\n27 25 8:2 / /nix rw - ext4 /dev/sda2 rw\n";
    assert_eq!(of(in_memory, "/persist/lists/x"), "yes");
    assert_eq!(of(in_memory, "/etc/modules-load.d/x"), "no", "the link itself is lost");
    assert_eq!(of(in_memory, "/etc/static/x"), "yes", "NixOS recreates its links");
    let on_disk = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n26 25 0:2 / /run rw - tmpfs tmpfs rw\n";
    assert_eq!(of(on_disk, "/etc/modules-load.d/x"), "yes");
    assert_eq!(of(on_disk, "/persist/gone"), "no", "its target is lost");
    assert_eq!(places(&root, "/etc/../etc/static/./y"), ["/etc/static", "/nix/store/a/etc/y"]);
}

#[test]
fn the_proc_mounts_table() {
    let mounts: Vec<Mount> =
        "/dev/dm-0 / ext4 ro 0 0\ntmpfs /etc tmpfs rw,mode=755 0 0\n".lines().filter_map(fstab).collect();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(word(&Mounts::new(mounts, "").lasting(&Root::new(folder.path()).unwrap(), "/etc/x")), "no");
}
