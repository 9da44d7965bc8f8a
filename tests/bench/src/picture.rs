//! The bars: what the tables say, in panels, on one SVG that is readable on light and on dark pages.

use crate::figures::Figures;
use crate::promises::grouped;
use std::fmt::Write as _;

/// Bars on one scale.
struct Panel {
    title: &'static str,
    unit: &'static str,
    bars: Vec<Bar>,
}

struct Bar {
    /// What it and those below it have in common; empty where that is said above.
    of: String,
    name: &'static str,
    figure: String,
    class: &'static str,
}

/// What people call a load.
const OTHERS: [(&str, &str); 3] = [
    ("pending", "asks the owner"),
    ("discovery", "discovery"),
    ("refused", "no credential: 401"),
];

fn panels(connections: &[usize]) -> Vec<Panel> {
    let count = |c: usize| format!("{c} connection{}", if c == 1 { "" } else { "s" });
    // For each number of connections the same bars.
    let each = |bars: &[(&'static str, &'static str, &'static str, &'static str)], end: &str| {
        let of = |c: usize| {
            let bars = bars.iter().enumerate().map(move |(n, bar)| (n, c, *bar));
            bars.collect::<Vec<_>>()
        };
        let all = connections.iter().flat_map(|c| of(*c));
        all.map(|(n, c, (kind, server, name, class))| Bar {
            of: if n == 0 { count(c) } else { String::new() },
            name,
            figure: format!("{kind}/{server}/{c}/{end}"),
            class,
        })
        .collect::<Vec<_>>()
    };
    let read = [
        ("read", "handler", "bare handler", "handler"),
        ("read", "path", "bare path", "path"),
        ("read", "plexusd", "plexusd", "plexusd"),
    ];
    let effect = [
        ("effect", "path", "bare path, two commits", "path"),
        ("effect", "plexusd", "plexusd", "plexusd"),
    ];
    let others = OTHERS.map(|(kind, name)| (kind, "plexusd", name, "plexusd"));
    let waits = [
        ("read", "path", "read, bare path", "path"),
        ("read", "plexusd", "read, plexusd", "plexusd"),
        ("effect", "path", "effect, bare path", "path"),
        ("effect", "plexusd", "effect, plexusd", "plexusd"),
    ];
    let mut homes = Vec::new();
    for kind in ["read", "effect", "pending", "refused"] {
        for (home, class) in [("small", "path"), ("large", "plexusd")] {
            homes.push(Bar {
                of: match home {
                    "small" => format!("{kind}, 64 connections"),
                    _ => String::new(),
                },
                name: home,
                figure: format!("{kind}/{home}/64/perSecond"),
                class,
            });
        }
    }
    let life = |figures: &[(&'static str, &str)]| {
        let bars = figures.iter().map(|(name, figure)| Bar {
            of: String::new(),
            name,
            figure: (*figure).to_owned(),
            class: "plexusd",
        });
        bars.collect::<Vec<_>>()
    };
    let panel = |title, unit, bars| Panel { title, unit, bars };
    vec![
        panel(
            "read, durable record before the reply: calls a second",
            "/s",
            each(&read, "perSecond"),
        ),
        panel(
            "effect, durable intent before and outcome after: calls a second",
            "/s",
            each(&effect, "perSecond"),
        ),
        panel(
            "other calls: calls a second",
            "/s",
            each(&others, "perSecond"),
        ),
        panel(
            "half of the calls take no longer than",
            " µs",
            each(&waits, "p50"),
        ),
        panel(
            "99 of 100 calls take no longer than",
            " µs",
            each(&waits, "p99"),
        ),
        panel(
            "a home with 50 sources, 1,000 agents, 100,000 grants and 1,000,000 events: calls a second",
            "/s",
            homes,
        ),
        panel(
            "start to first answer",
            " ms",
            life(&[
                ("empty home", "boot/empty/ms"),
                ("large home", "boot/large-known/ms"),
                ("large home, after kill -9", "boot/large-killed/ms"),
            ]),
        ),
        panel(
            "memory of plexusd",
            " MB",
            life(&[
                ("idle", "memory/small-idle/MB"),
                ("after load", "memory/small-after-load/MB"),
                ("large home, after load", "memory/large-after-load/MB"),
            ]),
        ),
    ]
}

/// Geometry, in units of the picture.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 300.0;
const BAR: f64 = 14.0;
const GAP: f64 = 4.0;
const TOP: f64 = 24.0;

/// Draws what was measured with these numbers of connections.
pub(crate) fn draw(figures: &Figures, connections: &[usize]) -> String {
    let mut drawn = String::new();
    let mut y = TOP;
    for Panel { title, unit, bars } in panels(connections) {
        let known: Vec<_> = bars
            .iter()
            .filter_map(|bar| Some((bar, figures.get(&bar.figure)?)))
            .collect();
        // One scale for each panel: its longest bar is as long as there is room.
        let Some(longest) = known.iter().map(|(_, value)| *value).reduce(f64::max) else {
            continue;
        };
        let _ = writeln!(
            drawn,
            r#"<text class="title" x="10" y="{y:.0}">{title}</text>"#
        );
        y += 12.0;
        for (
            n,
            (
                Bar {
                    of, name, class, ..
                },
                value,
            ),
        ) in known.iter().enumerate()
        {
            if n > 0 && !of.is_empty() {
                y += 6.0;
            }
            let middle = y + BAR - 3.0;
            let width = (WIDTH - LEFT - 90.0) * value / longest.max(f64::MIN_POSITIVE);
            let _ = writeln!(
                drawn,
                r#"<text x="10" y="{middle:.0}">{of}</text><text class="name" x="{:.0}" y="{middle:.0}">{name}</text><rect class="{class}" x="{LEFT:.0}" y="{y:.0}" width="{width:.1}" height="{BAR:.0}"/><text x="{:.0}" y="{middle:.0}">{}{unit}</text>"#,
                LEFT - 8.0,
                LEFT + width + 6.0,
                grouped(*value)
            );
            y += BAR + GAP;
        }
        y += 30.0;
    }
    let height = y - 20.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="What the tables of this page say, as bars: plexusd beside a bare handler and the bare path, a large home beside a small one, starts and memory">
<style>
text {{ fill: #1f2328 }} .title {{ font-weight: 600; font-size: 13px }} .name {{ text-anchor: end; fill: #59636e }}
.handler {{ fill: #c4ccd4 }} .path {{ fill: #8a97a5 }} .plexusd {{ fill: #2f6fd0 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .name {{ fill: #9198a1 }} .handler {{ fill: #4a525b }} .path {{ fill: #7d8895 }} .plexusd {{ fill: #6ea8ff }}
}}
</style>
{drawn}</svg>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_drawn_and_nothing_else() {
        let mut figures = Figures::default();
        figures.set("read/plexusd/64/perSecond", 30_000.0);
        figures.set("boot/empty/ms", 25.0);
        let picture = draw(&figures, &[1, 64]);
        assert!(picture.contains("30,000/s") && picture.contains("25 ms"));
        assert_eq!(picture.matches("<rect").count(), 2);
        assert_eq!(picture.matches("class=\"title\"").count(), 2);
    }
}
