use super::*;

#[test]
fn created_folders_are_recorded_and_read_back() {
    assert_eq!(folders_of(SCRIPT), ["/etc", "/etc/sysconfig", "/etc/sysconfig/modules"]);
    let file = || BootFile { path: SCRIPT, mode: 0o755, content: format!("{MARK}\n@FOLDERS@\nrest\n") };
    let noted = |existing: &Existing, unfinished: &[&str]| {
        let mut file = file();
        file.note_folders(existing, &unfinished.iter().map(|folder| (*folder).to_owned()).collect());
        (folders_made(SCRIPT, &file.content), file.content)
    };
    let absent = |missing: &[&str]| Existing::Absent { missing: missing.iter().map(|f| (*f).to_owned()).collect() };
    assert_eq!(noted(&absent(&[]), &[]), (vec![], format!("{MARK}\nrest\n")));
    let (folders, content) = noted(&absent(&["/etc/sysconfig/modules"]), &[]);
    assert_eq!(folders, ["/etc/sysconfig/modules"]);
    // Recorded folders are kept, and folders created by a killed run are added.
    let ours = Existing::File { content, mode: 0o755 };
    assert_eq!(noted(&ours, &["/etc/sysconfig", "/srv"]).0, ["/etc/sysconfig", "/etc/sysconfig/modules"]);
    let foreign = Existing::File { content: "# Folders made for it: /etc\n".to_owned(), mode: 0o755 };
    assert_eq!(noted(&foreign, &[]).0, Vec::<String>::new());
    // Only parent folders of the file itself are accepted from its content.
    assert_eq!(folders_made(SCRIPT, "# Folders made for it: / /home /etc/sysconfig ../..\n"), ["/etc/sysconfig"]);
}

/// The comments of 0.1.0 before its texts were reworded.
#[test]
fn files_of_an_earlier_version_count() {
    let new =
        include_str!("../templates/ipvs.modules").replace("@FOLDERS@\n", "").replace("@REQUEST@", "all --scheduler rr");
    let new = new.replace("@MANDATORY@", "ip_vs ip_vs_rr").replace("@WANTED@", "all");
    let reworded = |line: &str| match line {
        "#!/bin/sh" => line.to_owned(),
        line if line.starts_with("# ") && !line.starts_with(ASKED_FOR) => "# An older text.".to_owned(),
        line => line.to_owned(),
    };
    let old: Vec<String> = new.lines().map(reworded).collect();
    let old = old.join("\n") + "\n";
    assert_ne!(old, new);
    // A line that continues in the next one would take a comment into the code.
    assert!(!new.lines().any(|line| line.ends_with('\\')));
    assert!(does_the_same(&old, &new));
    assert_eq!(mandatory_of_script(&old), mandatory_of_script(&new));
    assert!(mandatory_of_script(&old).is_some_and(|names| names.contains("ip_vs_rr")));
    // A line of code that is commented out is a difference.
    let edited = old.replace("modprobe -a", "# modprobe -a");
    assert!(!does_the_same(&edited, &new));
    assert_eq!(mandatory_of_script(&edited), None);
}

#[test]
fn a_recorded_version_alone_is_not_a_difference() {
    let file = |asked: &str, rest: &str| format!("#!/bin/sh\n{ASKED_FOR}required --scheduler rr{asked}\n{rest}\n");
    let plain = file("", "ip_vs");
    assert!(does_the_same(&plain, &file(" --kubernetes-version 1.30", "ip_vs")));
    assert!(does_the_same(
        &file(" --boot-mechanism other", ""),
        &file(" --kubernetes-version 1.30 --boot-mechanism other", "")
    ));
    assert!(!does_the_same(&plain, &file(" --kubernetes-version 1.30", "ip_vs_sh")));
    assert!(!does_the_same(&file(" --kubernetes-version 1.26", "ip_vs"), &file(" --kubernetes-version 1.30", "ip_vs")));
    assert!(!does_the_same(&plain, plain.trim_end()));
}
