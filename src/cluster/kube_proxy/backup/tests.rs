use super::*;

#[test]
fn one_name_per_content() {
    let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let name_of = |of, data, binary: &[(&str, &[u8])]| {
        let binary = binary.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        super::name_of(of, &data, &binary.collect())
    };
    let one = name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[]);
    assert_eq!(one, name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[]));
    for other in [
        name_of("kube-proxy", data(&[("config.conf", "mode: \"\"")]), &[]),
        name_of("kube-proxy", data(&[("config.con", "fmode: \"\"\n")]), &[]),
        name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[("x", &[255])]),
        name_of("other", data(&[("config.conf", "mode: \"\"\n")]), &[]),
    ] {
        assert_ne!(one, other);
    }
    assert_eq!(one.len(), PREFIX.len() + 10);
}

#[test]
fn ordered_by_resource_version() {
    let mut versions = ["10", "9", "100", "1000000000000000000000", "99", "0099"];
    versions.sort_by(|a, b| stored(a).cmp(&stored(b)));
    assert_eq!(versions, ["9", "10", "99", "0099", "100", "1000000000000000000000"]);
}

#[test]
fn later_edits_of_a_backup_do_not_change_the_order() {
    let backup = |name: &str, saved: Option<&str>, own: &str| {
        let annotations =
            [(OF, "kube-proxy"), (KEY, "config.conf")].into_iter().chain(saved.map(|saved| (SAVED_VERSION, saved)));
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("{PREFIX}{name}")),
                uid: Some("x".to_owned()),
                resource_version: Some(own.to_owned()),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("config.conf".to_owned(), String::new())])),
            ..ConfigMap::default()
        }
    };
    let all = [
        backup("first", Some("90"), "100"),
        // kubectl label.
        backup("second-labelled", Some("180"), "999"),
        backup("third", Some("290"), "300"),
        backup("older-kpx-prep", None, "5000"),
        backup("other-cluster", Some("7000"), "400"),
        backup("no-number", Some("x"), "50"),
    ];
    let names: Vec<_> = newest_first(&all, "kube-proxy", "config.conf").iter().map(|b| b.hash().to_owned()).collect();
    assert_eq!(names, ["third", "second-labelled", "first", "older-kpx-prep", "other-cluster", "no-number"]);
}

#[test]
fn the_own_backup_is_never_deleted() {
    let backup = |number: usize| Backup {
        name: format!("{PREFIX}{number}"),
        of: "kube-proxy".to_owned(),
        replaced_at: String::new(),
        uid: String::new(),
        resource_version: number.to_string(),
        text: String::new(),
        written: None,
        on_the_way: None,
        restores: None,
    };
    let backups: Vec<_> = (0..KEPT + 2).map(backup).collect();
    let names = |own| superfluous(&backups, own).iter().map(|backup| backup.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(None), [format!("{PREFIX}10"), format!("{PREFIX}11")]);
    assert_eq!(names(Some("kpx-prep-backup-11")), [format!("{PREFIX}10")]);
}
