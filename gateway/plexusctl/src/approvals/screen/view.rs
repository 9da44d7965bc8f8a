//! The screen: what waits, the card, what can be done. One layout for every size.
//!
//! Invariant: every text that is not ours went through [`text`] or the card before it comes here; nothing stands to the
//! right of it that it could push aside.

use super::{
    form::Form,
    model::{Model, Panel, Tone},
};
use crate::{
    approvals::{
        card::{self, answers, everything},
        wants,
    },
    screen::lines::{self, CHANGE, Styles},
};
use plexus_client::{span, text};
use plexus_owner::pending::Item;
use plexus_protocol::Timestamp;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier},
    text::{Line, Span},
    widgets::Paragraph,
};

/// Most rows of the list.
const LIST: u16 = 6;

/// On a screen of fewer rows, a question leaves the list one.
const SMALL: u16 = 20;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, styles: Styles, now: Timestamp) {
    let area = frame.area();
    let waiting = u16::try_from(model.items.len()).unwrap_or(u16::MAX);
    // The card comes first: the list has a quarter of the screen at most.
    let answers = matches!(model.panel, Panel::Approve(_) | Panel::Deny(_));
    let list = match answers && area.height < SMALL {
        true => 1,
        false => waiting.clamp(1, LIST).min((area.height / 4).max(1)),
    };
    let note = note_rows(model, area.width);
    let note_height = u16::try_from(note.len())
        .unwrap_or(1)
        .clamp(1, (area.height / 4).max(1));
    let [title, rows, rule, body, said, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(list),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(note_height),
        Constraint::Length(1),
    ])
    .areas(area);
    put(frame, title, vec![title_line(model, styles, area.width)]);
    put(frame, rows, list_rows(model, styles, list, area.width, now));
    match &model.panel {
        Panel::None | Panel::Interrupted => {
            let place = card_rows(frame, body, model, styles, now);
            put(frame, rule, vec![rule_line(styles, &place, area.width)]);
        }
        Panel::Help(from) => {
            let help = HELP.iter();
            let help = help.flat_map(|line| lines::wrap(line, area.width.into()));
            let rows: Vec<_> = help.map(Line::raw).collect();
            let most = rows.len().saturating_sub(body.height.into());
            let from = (*from).min(most);
            model.panel = Panel::Help(from);
            let title = match from < most {
                true => "keys · MORE BELOW ↓",
                false => "keys",
            };
            put(frame, rule, vec![rule_line(styles, title, area.width)]);
            put(frame, body, rows.into_iter().skip(from).collect());
        }
        Panel::Approve(_) | Panel::Deny(_) => {
            let (panel, focus) = panel_rows(model, styles, area.width.into());
            let wanted = u16::try_from(panel.len() + 1).unwrap_or(u16::MAX);
            // The card stays in sight.
            let height = wanted.min((body.height * 2 / 3).max(3));
            let [upper, lower] =
                Layout::vertical([Constraint::Min(0), Constraint::Length(height)]).areas(body);
            let place = card_rows(frame, upper, model, styles, now);
            put(frame, rule, vec![rule_line(styles, &place, area.width)]);
            let title = match &model.panel {
                Panel::Deny(_) => "deny",
                _ => "approve",
            };
            let [head, fields] =
                Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(lower);
            put(frame, head, vec![rule_line(styles, title, area.width)]);
            let room = usize::from(fields.height).max(1);
            let from = (focus + 1)
                .saturating_sub(room)
                .min(panel.len().saturating_sub(room));
            put(frame, fields, panel.into_iter().skip(from).collect());
        }
    }
    let colour = match model.note {
        Some((Tone::Wrong, _)) => Color::Yellow,
        _ => Color::Green,
    };
    let said_rows = note
        .into_iter()
        .map(|row| Line::styled(row, styles.colour(colour)));
    put(frame, said, said_rows.collect());
    let keys = lines::cut(keys(model), area.width.into());
    put(frame, help, vec![Line::styled(keys, styles.quiet())]);
}

fn put(frame: &mut Frame<'_>, area: Rect, rows: Vec<Line<'static>>) {
    frame.render_widget(Paragraph::new(rows), area);
}

fn title_line(model: &Model, styles: Styles, width: u16) -> Line<'static> {
    let count = match (model.loaded, model.items.len()) {
        (false, _) => "looking".to_owned(),
        (true, 0) => "nothing waits".to_owned(),
        (true, 1) => "1 waits".to_owned(),
        (true, many) => format!("{many} wait"),
    };
    let paused = if model.paused {
        " · PAUSED: plexusctl resume"
    } else {
        ""
    };
    let state = match &model.lost {
        None => String::new(),
        Some(why) => format!(" · NOT CONNECTED, trying again: {}", text::line(why)),
    };
    let title = format!("Plexus approvals · {count}{state}{paused}");
    Line::styled(lines::cut(&title, width.into()), styles.strong())
}

fn rule_line(styles: Styles, said: &str, width: u16) -> Line<'static> {
    let said = lines::cut(&format!("── {said} "), width.into());
    let rest = usize::from(width).saturating_sub(lines::columns(&said));
    Line::styled(format!("{said}{}", "─".repeat(rest)), styles.quiet())
}

fn list_rows(
    model: &Model,
    styles: Styles,
    height: u16,
    width: u16,
    now: Timestamp,
) -> Vec<Line<'static>> {
    let height = usize::from(height);
    let from = (model.at + 1).saturating_sub(height);
    let shown = model.items.iter().enumerate().skip(from).take(height);
    let row = |(place, item): (usize, &Item)| {
        let heading = &item.heading;
        let age = span::ago(heading.created_at, now);
        let mark = if place == model.at { '▸' } else { ' ' };
        let who = match (&heading.agent_id, item.card.source()) {
            (Some(agent), _) => agent.to_string(),
            (None, Some(source)) => {
                let title = plexus_sheet::sheet_of(item).map_or("", |sheet| sheet.subject.title);
                format!("{} {title}", source.id)
            }
            (None, None) => String::new(),
        };
        let about =
            card::about(item).map_or(String::new(), |about| format!(": {}", text::line(&about)));
        let wanted = card::extension(item).unwrap_or_else(|| wants(heading));
        let line = format!("{mark} {who}  {age}  {wanted}{about}");
        let line = lines::cut(&line, width.into());
        if place == model.at {
            Line::styled(line, styles.chosen())
        } else {
            Line::raw(line)
        }
    };
    shown.map(row).collect()
}

/// Draws the card's rows from where it was scrolled to; gives what stands on the rule above it.
fn card_rows(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &mut Model,
    styles: Styles,
    now: Timestamp,
) -> String {
    model.page = usize::from(area.height).saturating_sub(1).max(1);
    let Some(item) = model.item() else {
        return String::new();
    };
    let rendered = match model.whole {
        true => everything::render(item, now, model.paused),
        false => card::render(item, now, model.paused),
    };
    let id = text::short(item.heading.pending_id.as_str(), 18);
    let rows = rows_of(&rendered, area.width.into(), styles);
    let height = usize::from(area.height);
    model.scroll = model.scroll.min(rows.len().saturating_sub(height));
    let last = (model.scroll + height).min(rows.len());
    let below = rows.len() - last;
    let all = rows.len();
    // What must be seen comes first: a narrow screen cuts the end.
    let place = match (model.scroll, below) {
        (0, 0) => String::new(),
        (from, 0) => format!(" · lines {}–{last} of {all}", from + 1),
        (from, _) => format!(" · MORE BELOW ↓ · lines {}–{last} of {all}", from + 1),
    };
    let rows = rows.into_iter().skip(model.scroll).take(height).collect();
    put(frame, area, rows);
    format!("{} of {}{place} · {id}", model.at + 1, model.items.len())
}

/// A row of a card, by what its line is.
fn row_of(styles: Styles, line: &str, row: String) -> Line<'static> {
    let inner = line.trim_start();
    let change = inner
        .strip_prefix(CHANGE)
        .and_then(|rest| rest.strip_prefix(' '));
    match change {
        Some(changed) if changed.starts_with('+') => Line::styled(row, styles.colour(Color::Green)),
        Some(changed) if changed.starts_with('-') => Line::styled(row, styles.colour(Color::Red)),
        Some(_) => Line::raw(row),
        None if inner.starts_with("WARNING: ") && line.starts_with("  WARNING") => Line::styled(
            row,
            styles.colour(Color::Yellow).add_modifier(Modifier::BOLD),
        ),
        // Only a label of our own stands at the left margin.
        None => match row.split_once(": ") {
            Some((label, rest)) if !row.starts_with(' ') => Line::from(vec![
                Span::styled(format!("{label}: "), styles.strong()),
                Span::raw(rest.to_owned()),
            ]),
            _ => Line::raw(row),
        },
    }
}

/// A card in rows of `max` columns.
fn rows_of(card: &str, max: usize, styles: Styles) -> Vec<Line<'static>> {
    let all = card.lines();
    all.flat_map(|line| {
        lines::wrap(line, max)
            .into_iter()
            .map(move |row| row_of(styles, line, row))
    })
    .collect()
}

/// The rows of a panel, and the last row of what has the keys.
fn panel_rows(model: &Model, styles: Styles, width: usize) -> (Vec<Line<'static>>, usize) {
    match &model.panel {
        Panel::Approve(form) => form_rows(form, styles, width, model.paused),
        Panel::Deny(denial) => {
            let said = match &denial.ends {
                Some(ends) => format!("  {}", text::line(ends)),
                None => format!(
                    "  reason (the agent reads it): {}▏",
                    text::line(&denial.why.text)
                ),
            };
            let rows: Vec<_> = lines::wrap(&said, width)
                .into_iter()
                .map(Line::raw)
                .collect();
            let focus = rows.len().saturating_sub(1);
            (rows, focus)
        }
        Panel::None | Panel::Interrupted | Panel::Help(_) => (Vec::new(), 0),
    }
}

fn form_rows(
    form: &Form,
    styles: Styles,
    width: usize,
    is_paused: bool,
) -> (Vec<Line<'static>>, usize) {
    let (mut rows, mut focus) = (Vec::new(), 0);
    // `end`: what stands whole behind the line; in a row without the keys, the line is cut for it, or wrapped where too little
    // of it would be left to say whose value this is.
    let mut add = |row: usize, line: &str, end: &str, style| {
        let has_keys = row == form.row;
        let room = width.saturating_sub(lines::columns(end));
        let wrapped = match has_keys || room < width.min(20) {
            true => lines::wrap(&format!("{line}{end}"), width),
            false => vec![format!("{}{end}", lines::cut(line, room))],
        };
        rows.extend(wrapped.into_iter().map(|line| Line::styled(line, style)));
        if has_keys {
            focus = rows.len().saturating_sub(1);
        }
    };
    for (row, choice) in form.choices.iter().enumerate() {
        let mark = match (&choice.refused, row == form.chosen) {
            (Some(_), _) => " × ",
            (None, true) => "(•)",
            (None, false) => "( )",
        };
        let words = answers::words(choice, is_paused);
        let said = choice.refused.as_ref().unwrap_or(&words);
        let line = match form.terms {
            true => format!("{mark} {}: {}", choice.window.kind(), text::line(said)),
            false => format!("{mark} {}", text::line(said)),
        };
        let style = match (&choice.refused, row == form.row) {
            (_, true) => styles.chosen(),
            (Some(_), false) => styles.quiet(),
            (None, false) => ratatui::style::Style::new(),
        };
        add(row, &line, "", style);
    }
    let mut field = |row: usize, label: &str, written: &str| {
        let (style, end) = match row == form.row {
            true => (styles.strong(), "▏"),
            false => (ratatui::style::Style::new(), ""),
        };
        let value = format!(": {}{end}", text::line(written));
        add(row, &format!("    {label}"), &value, style);
    };
    if let (Some(row), Some(name)) = (form.under_row(), form.narrow.first()) {
        let others = match form.narrow.len() {
            1 => String::new(),
            _ => format!(" (or FIELD=…, of {})", text::line(&form.narrow.join(", "))),
        };
        field(
            row,
            &format!("only where {} is at or below{others}", text::line(name)),
            &form.under.text,
        );
    }
    if let Some(row) = form.most_row() {
        field(row, "at most how many calls", &form.most.text);
    }
    for (row, line) in form.answers() {
        field(row, &text::line(&line.label), &line.written.text);
    }
    (rows, focus)
}

fn note_rows(model: &Model, width: u16) -> Vec<String> {
    match &model.note {
        _ if model.is_deciding() => vec!["sending …".to_owned()],
        Some((_, said)) => lines::wrap(said, width.into()),
        None => vec![String::new()],
    }
}

fn keys(model: &Model) -> &'static str {
    match &model.panel {
        Panel::None if model.items.is_empty() => "q quit · ? help",
        Panel::None if model.whole => {
            "a approve · d deny · ←→ next · ? help · q quit · ↑↓ scroll · v short card"
        }
        Panel::None => "a approve · d deny · ←→ next · ? help · q quit · ↑↓ scroll · v all of it",
        Panel::Approve(form) if form.answers().nth(1).is_some() => {
            "Enter approve · Tab next field · Esc back"
        }
        Panel::Approve(form) if form.under_row().is_none() && form.most_row().is_none() => {
            "Enter approve · Esc back"
        }
        Panel::Approve(_) => "Enter approve · ↑↓ how long · Tab limits · Esc back",
        Panel::Deny(_) => "Enter deny · Esc back",
        Panel::Interrupted => "Esc: go on (no other key does anything)",
        Panel::Help(_) => "↑↓ scroll · any other key: back",
    }
}

const HELP: [&str; 11] = [
    "a        approve: ↑ ↓ for how long, Tab for its limits, then Enter",
    "d        deny: say why, then Enter; the same call will not be asked again",
    "← → n p  the request before, the next one",
    "↑ ↓ j k  scroll; PgUp PgDn Home End too",
    "v        everything that the approval covers, or the short card",
    "r        have what failed planned again",
    "q Ctrl-C end; the requests stay pending",
    "",
    "Only our words begin at the left margin. What an agent or a file says",
    "is behind a label or a bar; what could move the cursor or turn the",
    "text around is written out, as \\u{202e}.",
];
