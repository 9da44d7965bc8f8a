//! Tables without lines: one row a line, columns aligned, every cell escaped. On a terminal that is too narrow for a row, each
//! cell has a line of its own: an id stays whole, so that it can be copied.

use crate::screen::{self, lines};
use comfy_table::{ContentArrangement, Table, presets};
use plexus_client::text;

/// Columns between two columns.
const GAP: u16 = 2;
/// Columns of words by which a person still recognises them.
const FEWEST: usize = 16;

/// A table with `head` and `rows`; `none` where there are no rows.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, none: &str) -> String {
    if rows.is_empty() {
        return none.to_owned();
    }
    laid_out(head.map(str::to_uppercase), &rows, screen::columns())
}

/// As [`table`], and the last column, which has words and no id, is cut to the room that a terminal leaves it.
pub(crate) fn table_of_words<const N: usize>(
    head: [&str; N],
    rows: Vec<[String; N]>,
    none: &str,
) -> String {
    let width = screen::columns();
    let mut rows = rows;
    let mut head = head.map(str::to_uppercase);
    if let Some(width) = width {
        cut_last(&mut head, &mut rows, width);
    }
    match rows.is_empty() {
        true => none.to_owned(),
        false => laid_out(head, &rows, width),
    }
}

/// Cuts the last cells to what the others leave of `width`; where that is less than [`FEWEST`] columns, they stay whole.
fn cut_last<const N: usize>(head: &mut [String; N], rows: &mut [[String; N]], width: usize) {
    let mut widths = [0; N];
    for row in rows.iter().chain([&*head]) {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = lines::columns(&text::line(cell)).max(*widest);
        }
    }
    let others = widths.split_last().map_or(&[][..], |(_, others)| others);
    let used: usize = others.iter().map(|widest| widest + usize::from(GAP)).sum();
    let room = width.saturating_sub(used);
    if room < FEWEST {
        return;
    }
    for row in rows.iter_mut().chain([head]) {
        if let Some(last) = row.last_mut() {
            *last = lines::cut(&text::line(last), room);
        }
    }
}

fn laid_out<const N: usize>(
    head: [String; N],
    rows: &[[String; N]],
    width: Option<usize>,
) -> String {
    let rows = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| text::line(cell)));
    let rows: Vec<[String; N]> = rows.collect();
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(&head);
    for row in &rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let shown: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    if shown
        .iter()
        .all(|line| width.is_none_or(|width| lines::columns(line) <= width))
    {
        return shown.join("\n");
    }
    let of_row = |row: &[String; N]| {
        let cells = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let cells = cells.map(|(name, cell)| format!("{name} {cell}").trim().to_owned());
        cells.collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(of_row).collect::<Vec<_>>().join("\n\n")
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

    #[test]
    fn last_column_is_cut_to_its_room() {
        let cut = |width| {
            let mut head = ["TASK", "TITLE (ITS WORDS)"].map(str::to_owned);
            let mut rows = [["one", "寬寬 a title of many words"].map(str::to_owned)];
            cut_last(&mut head, &mut rows, width);
            laid_out(head, &rows, Some(width))
        };
        assert_eq!(cut(22), "TASK  TITLE (ITS WORD…\none   寬寬 a title of…");
        assert_eq!(
            cut(21),
            "TASK one\nTITLE (ITS WORDS) 寬寬 a title of many words"
        );
    }

    #[test]
    fn row_that_does_not_fit_has_a_line_for_each_cell() {
        let head = ["CALL", "", "SAYS"].map(str::to_owned);
        let rows =
            [["call_1", "now", "hello"], ["call_2", "", "x"]].map(|row| row.map(str::to_owned));
        let shown = |width| laid_out(head.clone(), &rows, width);
        let wide = "CALL         SAYS\ncall_1  now  hello\ncall_2       x";
        assert_eq!(shown(None), wide);
        assert_eq!(shown(Some(18)), wide);
        assert_eq!(
            shown(Some(17)),
            "CALL call_1\nnow\nSAYS hello\n\nCALL call_2\nSAYS x"
        );
    }
}
