//! The code in a Markdown text: code blocks, fenced or indented, and what stands in backticks.

/// The code of a document.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Code {
    /// Lines of code blocks, continued ones joined.
    pub(crate) lines: Vec<String>,
    /// What stands in backticks in running text, tables and headings.
    pub(crate) spans: Vec<String>,
}

impl Code {
    pub(crate) fn of(markdown: &str) -> Result<Self, String> {
        let mut code = Self::default();
        let (mut fenced, mut indented, mut paragraph) = (false, false, String::new());
        for line in markdown.lines().chain([""]) {
            let fence = line.trim_start().starts_with("```");
            // An indented block begins after an empty line only.
            indented = line.starts_with("    ") && (indented || paragraph.is_empty()) && !fenced && !fence;
            if fence {
                fenced = !fenced;
            }
            if fenced || indented || fence {
                code.end_paragraph(&mut paragraph)?;
                if !fence {
                    code.add_line(line.trim());
                }
            } else if line.trim().is_empty() {
                code.end_paragraph(&mut paragraph)?;
            } else {
                paragraph.push_str(line.trim());
                paragraph.push(' ');
            }
        }
        if fenced { Err("a code block does not end".to_owned()) } else { Ok(code) }
    }

    fn add_line(&mut self, line: &str) {
        match self.lines.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => {
                last.pop();
                last.push_str(line);
            }
            None => self.lines.push(line.to_owned()),
        }
    }

    fn end_paragraph(&mut self, paragraph: &mut String) -> Result<(), String> {
        let parts: Vec<&str> = paragraph.split('`').collect();
        if parts.len().is_multiple_of(2) {
            return Err(format!("a backtick has no partner: {paragraph}"));
        }
        self.spans.extend(parts.iter().skip(1).step_by(2).map(|span| (*span).to_owned()));
        paragraph.clear();
        Ok(())
    }

    /// Each command, and whether it is written in full.
    pub(crate) fn commands(&self) -> Vec<(&str, bool)> {
        let full = self.lines.iter().flat_map(|line| calls(line)).map(|command| (command, true));
        let named = self.spans.iter().filter(|span| span.starts_with("kpx-prep ")).map(|span| (span.as_str(), false));
        full.chain(named).collect()
    }
}

/// Where in a line `kpx-prep` is called: as a word of its own with something behind it.
fn calls(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices("kpx-prep ").map(|(at, _)| at);
    starts.filter(|at| *at == 0 || line[..*at].ends_with(' ')).map(|at| &line[at..])
}

#[test]
fn code_is_found_where_it_is() {
    let code = Code::of(
        "# Title `a b`\n\ntext `kpx-prep\nstatus` and\n    no code\n\n    kpx-prep image | ssh NODE\n    $ kpx-prep node \\\n      check\n\n\
         | `kpx-prep man` | b |\n\n```sh\nx && kpx-prep status\n/bin/kpx-prep no\nkpx-prep-node no\n```\n",
    )
    .unwrap();
    let commands: Vec<_> = code
        .commands()
        .into_iter()
        .map(|(command, in_full)| (super::command::words(command).unwrap().0.join(" "), in_full))
        .collect();
    let expected = [
        ("kpx-prep image", true),
        ("kpx-prep node check", true),
        ("kpx-prep status", true),
        ("kpx-prep status", false),
        ("kpx-prep man", false),
    ];
    assert_eq!(commands, expected.map(|(command, in_full)| (command.to_owned(), in_full)));
    assert!(Code::of("a ` b\n").is_err() && Code::of("```\nx\n").is_err());
}
