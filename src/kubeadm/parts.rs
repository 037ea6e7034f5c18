//! kubeadm splits a file into parts and reads the first document of each: finds documents that it does not see, and empty
//! parts.
//!
//! `YAMLReader` of `k8s.io/apimachinery/pkg/util/yaml` splits at lines of `---`; before 1.22 only if nothing but white space
//! follows, since then a comment may follow too, and anything else is an error. So kubeadm 1.20 does not see a document after
//! `--- # kube-proxy` or after `...`, and the cluster runs another mode than its file says. A part without a document is
//! refused (`SplitYAMLDocuments` in `cmd/kubeadm/app/util/marshal.go`, 1.20 to 1.36).

use super::findings::Findings;
use crate::yaml::Node;

/// Lines of one part: first and last, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: usize,
    last: usize,
}

/// The rest of a line that starts with `---`.
fn behind_marker(line: &str) -> Option<&str> {
    line.strip_prefix("---").map(str::trim)
}

fn parts(text: &str, minor: u32) -> Vec<Part> {
    let separates = |line: &str| {
        behind_marker(line).is_some_and(|behind| behind.is_empty() || minor >= 22 && behind.starts_with('#'))
    };
    let mut parts = Vec::new();
    let mut part: Option<Part> = None;
    for (number, line) in (1..).zip(text.lines()) {
        part = match part {
            Some(part) if separates(line) => {
                parts.push(part);
                None
            }
            // A marker with nothing before it starts the part after it.
            Some(part) => Some(Part { last: number, ..part }),
            None => Some(Part { first: number, last: number }),
        };
    }
    parts.extend(part);
    parts
}

/// Reports documents that kubeadm 1.`minor` does not see, and empty parts, which it refuses.
pub(super) fn check(name: &str, text: &str, roots: &[&Node], minor: u32, findings: &mut Findings) {
    if minor >= 22 {
        let wrong = |line: &&str| behind_marker(line).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('#'));
        for (number, line) in (1..).zip(text.lines()) {
            if wrong(&line) {
                findings.problem(
                    format!("{name}:{number}"),
                    "kubeadm accepts only a comment after ---; start the document on the next line",
                );
            }
        }
    }
    let documents: Vec<usize> = roots.iter().filter(|root| !root.is_null()).map(|root| root.line).collect();
    for part in parts(text, minor) {
        let mut within = documents.iter().filter(|line| (part.first..=part.last).contains(line));
        if within.next().is_none() {
            findings.problem(
                format!("{name}:{}", part.first),
                "kubeadm refuses an empty document (or one with comments only); remove one of the --- lines, or move the comment",
            );
        }
        for line in within {
            findings.problem(
                format!("{name}:{line}"),
                format!(
                    "kubeadm 1.{minor} does not see this document; it needs a line with only --- before it (no comment after it, no ...)"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeadm::findings::InputProblem;
    use crate::yaml::parse;

    fn said(text: &str, minor: u32) -> Vec<String> {
        let documents = parse(text).unwrap();
        let roots: Vec<&Node> = documents.iter().map(|document| &document.root).collect();
        let mut findings = Findings::default();
        check("f", text, &roots, minor, &mut findings);
        let short = |problem: &InputProblem| {
            let what = ["empty", "not see", "only a comment"].into_iter().find(|word| problem.message.contains(word));
            format!("{} {}", problem.place, what.unwrap_or_default())
        };
        findings.problems.iter().map(short).collect()
    }

    /// Tested with kubeadm 1.20.2; for 1.36 from its source.
    #[test]
    fn parts_as_kubeadm_splits_them() {
        for (text, in_20, in_36) in [
            ("a: 1\n", &[][..], &[][..]),
            ("---\na: 1\n", &[], &[]),
            ("a: 1\n---\n", &[], &[]),
            ("a: 1\n---\nb: 1\n", &[], &[]),
            ("a: 1\r\n---\r\nb: 1\r\n", &[], &[]),
            ("a: 1\n---  \nb: 1\n", &[], &[]),
            ("a: 1\n...\n", &[], &[]),
            ("a: 1\n...\n---\nb: 1\n", &[], &[]),
            ("a: 1\n--- # b\nb: 1\n", &["f:3 not see"], &[]),
            ("a: 1\n--- {b: 1}\n", &["f:2 not see"], &["f:2 only a comment", "f:2 not see"]),
            ("a: 1\n...\nb: 1\n", &["f:3 not see"], &["f:3 not see"]),
            ("---\n---\na: 1\n", &["f:1 empty"], &["f:1 empty"]),
            ("# c\n---\na: 1\n", &["f:1 empty"], &["f:1 empty"]),
            ("# c\na: 1\n", &[], &[]),
            ("a: 1\n---\n# c\n", &["f:3 empty"], &["f:3 empty"]),
            ("a: 1\n---\n\n---\nb: 1\n", &["f:3 empty"], &["f:3 empty"]),
            ("a: 1\n---\nnull\n", &["f:3 empty"], &["f:3 empty"]),
            ("a: 1\n---\n  \n", &["f:3 empty"], &["f:3 empty"]),
        ] {
            assert_eq!(said(text, 20), in_20, "{text:?}");
            assert_eq!(said(text, 36), in_36, "{text:?}");
        }
    }
}
