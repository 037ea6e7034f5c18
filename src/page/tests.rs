use super::timeline::{LANES, SpanKind, Timeline, clock};
use super::{Block, Page, PageFormat, Tone};
use crate::report::event::What;
use crate::report::recorded::Recorded;
use crate::report::{Level, finding};

/// Markup of both formats, an address, an escape sequence, a bidirectional character and a mention.
const HOSTILE: &str = "<script src=//e.x></script>\"'&amp;|`*_[a](http://e.x) WWW.e.x @all #1 \u{1b}[2J\u{202e}";

fn event(seconds: i64, what: What, node: &str) -> Recorded {
    let time = jiff::Timestamp::from_second(1_790_000_000 + seconds).expect("in range");
    Recorded { time, what, node: (!node.is_empty()).then(|| node.to_owned()) }
}

fn hostile_page() -> Page {
    let text = || HOSTILE.to_owned();
    let events = [event(0, What::Replacing, HOSTILE), event(3, What::Verified, HOSTILE)];
    Page {
        title: text(),
        headline: text(),
        tone: Tone::Bad,
        blocks: vec![
            Block::Heading(text()),
            Block::Text(text()),
            Block::Facts(vec![(text(), text())]),
            Block::Table(vec![text()], vec![vec![text()]]),
            Block::Findings(vec![finding(Level::Error, "id", HOSTILE, HOSTILE)]),
            Block::Code(format!("```\n{HOSTILE}\n````\n")),
            Block::Diff(format!("+{HOSTILE}\n-{HOSTILE}\n")),
            Block::Timeline(Timeline::new(&events).expect("a node")),
        ],
    }
}

#[test]
fn html_escapes_every_text_and_loads_nothing() {
    let html = hostile_page().render(PageFormat::Html);
    assert!(!html.contains("<script") && !html.contains("<a ") && !html.contains("<img"), "{html}");
    assert!(!html.contains(['\u{1b}', '\u{202e}']), "{html}");
    // Title twice, headline, heading, text, fact and value, table twice, finding twice, code, diff twice, lane.
    assert_eq!(html.matches("&lt;script src=//e.x&gt;").count(), 15, "{html}");
    for loads in ["src=\"", "href=", "url(", "@import", "http-equiv=\"refresh"] {
        assert!(!html.contains(loads), "{loads}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn markdown_escapes_every_text() {
    let markdown = hostile_page().render(PageFormat::Markdown);
    assert!(!markdown.contains(['\u{1b}', '\u{202e}']), "{markdown}");
    let mut fence: Option<String> = None;
    for line in markdown.lines() {
        match &fence {
            Some(end) if line == end => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("diff").to_owned()),
            None => {
                for markup in ["<script", "[a]", " @", " #1", "*_", "://", "WWW."] {
                    assert!(!line.contains(markup), "{markup}: {line}");
                }
                // A cell is not ended by what is in it.
                if let Some(row) = line.strip_prefix("| ") {
                    let bars = row.replace("\\\\", "").replace("\\|", "").matches('|').count();
                    assert!((1..=2).contains(&bars), "{line}");
                }
            }
        }
    }
    assert_eq!(fence, None, "a block of code is ended by what is in it");
    let begun = |text: &str| {
        let page = Page {
            title: String::new(),
            headline: String::new(),
            tone: Tone::Bad,
            blocks: vec![Block::Text(text.to_owned())],
        };
        page.render(PageFormat::Markdown).lines().last().unwrap_or_default().to_owned()
    };
    for (text, line) in [
        ("1. a", "1\\. a"),
        ("12) a", "12\\) a"),
        ("- a", "\\- a"),
        ("1.35.6 a", "1.35.6 a"),
        ("a 1. b: c", "a 1. b: c"),
        ("a; https://kubernetes.io/docs", "a; https://kubernetes.io/docs"),
        ("a; https://kubernetes.io.e.x/docs", "a; https&#58;//kubernetes.io.e.x/docs"),
        ("a; http://kubernetes.io/docs", "a; http&#58;//kubernetes.io/docs"),
    ] {
        assert_eq!(begun(text), line);
    }
}

#[test]
fn a_timeline_says_what_happened_to_each_node() {
    let events = [
        event(0, What::Preparing, ""),
        event(1, What::Prepared, "a"),
        event(5, What::Replacing, "a"),
        event(9, What::Watching, "a"),
        event(12, What::Verified, "a"),
        event(12, What::Replacing, "b"),
        event(13, What::Cleaned, "a"),
        event(20, What::Failed, "b"),
        event(21, What::RollingBack, ""),
        event(22, What::Replacing, "a"),
        event(25, What::RolledBack, "a"),
        event(26, What::Draining, ""),
        event(66, What::Drained, "a"),
        event(70, What::Replacing, "c"),
        event(80, What::Finished, ""),
    ];
    let timeline = Timeline::new(&events).expect("nodes");
    let lanes: Vec<_> = timeline.lanes.iter().map(|lane| format!("{}: {}", lane.node, lane.words())).collect();
    assert_eq!(
        lanes,
        [
            "a: prepared +0:01, replaced +0:05, verified +0:12, cleaned +0:13, rolled back +0:22, verified again +0:25, drained +1:06",
            "b: replaced +0:12, failed +0:20",
            "c: rolled back +1:10",
        ]
    );
    let spans: Vec<_> = timeline
        .lanes
        .iter()
        .map(|lane| lane.spans.iter().map(|span| (span.kind, span.from, span.to)).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        spans,
        [
            vec![
                (SpanKind::Switching, 5000, 12_000),
                (SpanKind::RollingBack, 22_000, 25_000),
                (SpanKind::Draining, 26_000, 66_000)
            ],
            vec![(SpanKind::Switching, 12_000, 20_000)],
            // It never ended.
            vec![(SpanKind::RollingBack, 70_000, 80_000)],
        ]
    );
    assert_eq!(timeline.lanes[0].switches().collect::<Vec<_>>(), [7000]);
    assert_eq!(timeline.lanes[1].switches().count(), 0, "a failure is no figure");
}

#[test]
fn a_clock_that_is_set_back_and_too_many_nodes() {
    let events = [event(10, What::Replacing, "a"), event(5, What::Verified, "a"), event(10, What::Finished, "")];
    let timeline = Timeline::new(&events).expect("a node");
    assert_eq!((timeline.length, timeline.lanes[0].spans[0].to), (1, 0));
    assert_eq!(Timeline::new(&[event(0, What::Started, "")]), None);
    assert_eq!(Timeline::new(&[]), None);

    let mut events: Vec<_> = (0..150).map(|node| event(node, What::Verified, &format!("n{node}"))).collect();
    events.push(event(151, What::Failed, "n149"));
    let timeline = Timeline::new(&events).expect("nodes");
    assert_eq!((timeline.lanes.len(), timeline.more, timeline.lanes[0].node.as_str()), (LANES, 50, "n149"));
    assert_eq!((clock(0), clock(65_900), clock(3_605_000)), ("0:00".into(), "1:05".into(), "1:00:05".into()));
}

#[test]
fn the_ending_chooses_the_format() {
    for (path, format) in [
        ("a.md", Some(PageFormat::Markdown)),
        ("a.b/CHANGE-1.HTML", Some(PageFormat::Html)),
        ("a.htm", Some(PageFormat::Html)),
        ("a.markdown", Some(PageFormat::Markdown)),
        ("a", None),
        ("a.txt", None),
        (".md", None),
    ] {
        assert_eq!(PageFormat::of(std::path::Path::new(path)), format, "{path}");
    }
}
