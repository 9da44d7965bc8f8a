//! Tables without lines: one row a line, columns aligned, every cell escaped.

use comfy_table::{ContentArrangement, Table, presets};
use plexus_client::text;

/// A table with `head` and `rows`; `none` where there are no rows.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, none: &str) -> String {
    if rows.is_empty() {
        return none.to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| text::line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_and_escaped() {
        let rows = vec![
            ["a".to_owned(), "x\u{1b}[2J\ny".to_owned()],
            ["longer".to_owned(), "z".to_owned()],
        ];
        let shown = table(["id", "what"], rows, "none");
        assert_eq!(shown, "ID      WHAT\na       x\\u{1b}[2J\\ny\nlonger  z");
        assert_eq!(table(["id"], vec![], "nothing here"), "nothing here");
    }
}
