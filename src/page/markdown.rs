//! A page as Markdown: `CommonMark`, with the tables that forges render.

use super::timeline::{Timeline, clock};
use super::{Block, Page};
use crate::report::foreign::visible;

/// The page.
pub(super) fn render(page: &Page) -> String {
    let mut text = format!("# {}\n\n**{}**\n", inline(&page.title), inline(&page.headline));
    for block in &page.blocks {
        text.push('\n');
        text.push_str(&match block {
            Block::Heading(heading) => format!("## {}\n", inline(heading)),
            Block::Text(paragraph) => format!("{}\n", inline(paragraph)),
            Block::Facts(facts) => table(
                &[String::new(), String::new()],
                &facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect::<Vec<_>>(),
            ),
            Block::Table(head, rows) => table(head, rows),
            Block::Findings(findings) => findings
                .iter()
                .map(|finding| {
                    let hint =
                        finding.hint.as_ref().map(|hint| format!("  \n  hint: {}", inline(hint))).unwrap_or_default();
                    format!(
                        "- **{}** \\[{}\\] {}{hint}\n",
                        finding.level.word(),
                        inline(&finding.id),
                        inline(&finding.message)
                    )
                })
                .collect(),
            Block::Code(code) => fenced(code, ""),
            Block::Diff(diff) => fenced(diff, "diff"),
            Block::Timeline(timeline) => lanes(timeline),
        });
    }
    text
}

/// Addresses that stay links in any text: most hints end with one.
const LINKS: [&str; 3] =
    ["https://kubernetes.io/", "https://github.com/kubernetes/", "https://github.com/kubernetes-sigs/"];

/// Whether the `:` at this place is of an address that stays a link.
fn is_link(text: &str, at: usize) -> bool {
    let from = text[..at].strip_suffix("https").map(str::len);
    from.is_some_and(|from| LINKS.iter().any(|link| text[from..].starts_with(link)))
}

fn ends_with_www(text: &str) -> bool {
    text.as_bytes().last_chunk::<3>().is_some_and(|end| end.eq_ignore_ascii_case(b"www"))
}

/// A text within a line: nothing in it is markup, a link to elsewhere, a mention or HTML.
fn inline(text: &str) -> String {
    let mut safe = String::new();
    let text = visible(text);
    for (at, character) in text.char_indices() {
        match character {
            '\n' => safe.push(' '),
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // Forges turn @name into a mention, and #1 into a link.
            '@' => safe.push_str("&#64;"),
            '#' => safe.push_str("&#35;"),
            // And https://… and www.… into links.
            ':' if text[at..].starts_with("://") && !is_link(&text, at) => safe.push_str("&#58;"),
            '.' if ends_with_www(&text[..at]) => safe.push_str("&#46;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => safe.extend(['\\', character]),
            // At the start of a line these begin a list.
            '-' | '+' if safe.is_empty() => safe.extend(['\\', character]),
            '.' | ')'
                if at > 0
                    && text[..at].bytes().all(|byte| byte.is_ascii_digit())
                    && text[at + 1..].chars().next().is_none_or(char::is_whitespace) =>
            {
                safe.extend(['\\', character]);
            }
            _ => safe.push(character),
        }
    }
    safe
}

/// A block of code; the fence is longer than any in it.
fn fenced(code: &str, language: &str) -> String {
    let code = visible(code);
    let mut longest = 0;
    let mut run = 0;
    for character in code.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}{language}\n{}\n{fence}\n", code.trim_end_matches('\n'))
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| inline(cell)).collect::<Vec<_>>().join(" | "));
    let mut text = line(head);
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    text.extend(rows.iter().map(|row| line(row)));
    text
}

fn lanes(timeline: &Timeline) -> String {
    let head = ["Node".to_owned(), format!("since {} (UTC)", timeline.from.strftime("%Y-%m-%d %H:%M:%S"))];
    let rows: Vec<_> = timeline.lanes.iter().map(|lane| vec![lane.node.clone(), lane.words()]).collect();
    let mut text = table(&head, &rows);
    if timeline.more > 0 {
        text.push_str(&format!("\n{} more nodes are not listed here.\n", timeline.more));
    }
    text.push_str(&format!("\nThe run took {}.\n", clock(timeline.length)));
    text
}
