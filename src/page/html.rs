//! A page as one HTML file: nothing is loaded from anywhere, no script, light and dark, narrow and wide.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::timeline::{Lane, SpanKind, Timeline, clock};
use super::{Block, Page, Tone};
use crate::report::Level;
use crate::report::event::What;
use crate::report::foreign::visible;

/// The width of a lane in the units of its picture; it is stretched to the page.
const WIDTH: i64 = 1000;

/// The page. maud escapes every text.
pub(super) fn render(page: &Page) -> String {
    let tone = match page.tone {
        Tone::Good => "good",
        Tone::Attention => "attention",
        Tone::Bad => "bad",
    };
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // A browser would load nothing even if a text had slipped through.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (visible(&page.title)) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    h1 { (visible(&page.title)) }
                    p.headline.(tone) { (visible(&page.headline)) }
                    @for part in &page.blocks { (block(part)) }
                }
            }
        }
    };
    whole.into_string() + "\n"
}

fn block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(text) => h2 { (visible(text)) },
            Block::Text(text) => p { (visible(text)) },
            Block::Facts(facts) => dl {
                @for (name, value) in facts { dt { (visible(name)) } dd { (visible(value)) } }
            },
            Block::Table(head, rows) => div.wide { table {
                thead { tr { @for cell in head { th scope="col" { (visible(cell)) } } } }
                tbody { @for row in rows { tr { @for cell in row { td { (visible(cell)) } } } } }
            } },
            Block::Findings(findings) => ul.findings {
                @for finding in findings {
                    li.(level(finding.level)) {
                        b { (finding.level.word()) } " " code { (visible(&finding.id)) } " " (visible(&finding.message))
                        @if let Some(hint) = &finding.hint { br; span.hint { "hint: " (visible(hint)) } }
                    }
                }
            },
            Block::Code(code) => pre { (visible(code)) },
            Block::Diff(diff) => pre.diff { @for line in visible(diff).lines() { (diff_line(line)) "\n" } },
            Block::Timeline(timeline) => (lanes(timeline)),
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "bad",
        Level::Warning => "attention",
        Level::Info => "info",
    }
}

fn diff_line(line: &str) -> Markup {
    html! {
        @if line.starts_with('+') { ins { (line) } } @else if line.starts_with('-') { del { (line) } } @else { (line) }
    }
}

fn lanes(timeline: &Timeline) -> Markup {
    html! {
        p.legend {
            "Since " (timeline.from.strftime("%Y-%m-%d %H:%M:%S").to_string()) " UTC; the run took " (clock(timeline.length)) ". "
            span.key.switching {} " replaced, not verified yet  " span.key.back {} " rolling back  "
            span.key.draining {} " draining  " span.key.ok {} " verified  " span.key.failed {} " failed  "
            span.key.mark {} " prepared, cleaned, drained"
        }
        ol.lanes { @for lane in &timeline.lanes { (one(lane, timeline.length)) } }
        @if timeline.more > 0 { p { (timeline.more) " more nodes are not drawn." } }
    }
}

/// A node: its name, its lane, and the same as text.
fn one(lane: &Lane, length: i64) -> Markup {
    let x = |at: i64| at * WIDTH / length;
    html! {
        li {
            b { (visible(&lane.node)) }
            svg viewBox={ "0 0 " (WIDTH) " 16" } preserveAspectRatio="none" aria-hidden="true" {
                rect.track x="0" y="6" width=(WIDTH) height="4" {}
                @for span in &lane.spans {
                    @let class = match span.kind {
                        SpanKind::Switching => "switching", SpanKind::RollingBack => "back", SpanKind::Draining => "draining",
                    };
                    rect class=(class) x=(x(span.from)) y="3" width=((x(span.to) - x(span.from)).max(3)) height="10" {}
                }
                @for mark in &lane.marks {
                    @let class = match mark.what {
                        What::Failed => Some("failed"),
                        What::Verified | What::RolledBack => Some("ok"),
                        What::Prepared | What::Cleaned | What::Drained => Some("mark"),
                        _ => None,
                    };
                    @if let Some(class) = class {
                        rect class=(class) x=((x(mark.at) - 3).clamp(0, WIDTH - 6)) y="0" width="6" height="16" {}
                    }
                }
            }
            span.when { (lane.words()) }
        }
    }
}
