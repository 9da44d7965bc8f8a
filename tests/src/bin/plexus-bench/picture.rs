//! The bars: calls a second of the handler, the bare path and the gateway, at each number of connections. One SVG that
//! is readable on light and on dark pages.

use crate::figures::Figures;
use crate::promises::grouped;
use std::fmt::Write as _;

/// One group of bars.
struct Group {
    title: &'static str,
    kind: &'static str,
    servers: &'static [(&'static str, &'static str)],
}

const GROUPS: &[Group] = &[
    Group {
        title: "read, durable record before the reply",
        kind: "read",
        servers: &[
            ("handler", "bare handler"),
            ("path", "bare path"),
            ("plexusd", "plexusd"),
        ],
    },
    Group {
        title: "effect, durable intent before and outcome after",
        kind: "effect",
        servers: &[("path", "bare path, two commits"), ("plexusd", "plexusd")],
    },
];

/// Geometry, in units of the picture.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const BAR: f64 = 16.0;
const GAP: f64 = 5.0;
const TOP: f64 = 30.0;

/// Draws what was measured with these numbers of connections.
pub(crate) fn draw(figures: &Figures, connections: &[usize]) -> String {
    let mut rows = String::new();
    let mut y = TOP;
    for group in GROUPS {
        let rate =
            |server: &str, c: usize| figures.get(&format!("{}/{server}/{c}/perSecond", group.kind));
        // One scale for each group: its longest bar is as long as there is room.
        let longest = connections
            .iter()
            .flat_map(|c| {
                group
                    .servers
                    .iter()
                    .filter_map(|(server, _)| rate(server, *c))
            })
            .fold(1.0, f64::max);
        let _ = writeln!(
            rows,
            r#"<text class="title" x="10" y="{:.0}">{}</text>"#,
            y, group.title
        );
        y += 14.0;
        for c in connections {
            let mut named = false;
            for (server, name) in group.servers {
                let Some(rate) = rate(server, *c) else {
                    continue;
                };
                let middle = y + BAR - 4.0;
                if !named {
                    named = true;
                    let _ = writeln!(
                        rows,
                        r#"<text x="10" y="{middle:.0}">{c} connection{}</text>"#,
                        if *c == 1 { "" } else { "s" }
                    );
                }
                let width = (WIDTH - LEFT - 90.0) * rate / longest;
                let _ = writeln!(
                    rows,
                    r#"<text class="name" x="{:.0}" y="{middle:.0}">{name}</text><rect class="{server}" x="{LEFT:.0}" y="{y:.0}" width="{width:.1}" height="{BAR:.0}"/><text x="{:.0}" y="{middle:.0}">{}/s</text>"#,
                    LEFT - 8.0,
                    LEFT + width + 6.0,
                    grouped(rate)
                );
                y += BAR + GAP;
            }
            y += 8.0;
        }
        y += 26.0;
    }
    let height = y - 20.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Calls a second: bare handler, bare path and plexusd">
<style>
text {{ fill: #1f2328 }} .title {{ font-weight: 600; font-size: 13px }} .name {{ text-anchor: end; fill: #59636e }}
.handler {{ fill: #c4ccd4 }} .path {{ fill: #8a97a5 }} .plexusd {{ fill: #2f6fd0 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .name {{ fill: #9198a1 }} .handler {{ fill: #4a525b }} .path {{ fill: #7d8895 }} .plexusd {{ fill: #6ea8ff }}
}}
</style>
{rows}</svg>
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
        let picture = draw(&figures, &[1, 64]);
        assert!(picture.contains("30,000/s") && picture.contains("64 connections"));
        assert_eq!(picture.matches("<rect").count(), 1);
    }
}
