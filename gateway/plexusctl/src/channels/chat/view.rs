//! The screen of the chat: the channels at the left, the messages of one at the right, the text that is being written
//! below. One pane where there is no room for two.
//!
//! Invariants: no line of what others wrote begins in the first column of a pane, also where it is wrapped; every text that
//! is not ours went through [`text`]; what a colour says, a word says too.

use super::{
    channel::{Channel, LEFT, OwnText, TextStatus},
    model::Model,
};
use crate::{
    channels::shown::{body, channel_name, end_of, looks_like, moment, who},
    screen::lines::{self, Styles},
};
use plexus_client::text;
use plexus_owner::channels::Message;
use plexus_protocol::words::counted;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Position, Rect},
    style::{Color, Style},
    text::Line,
    widgets::Paragraph,
};

/// Columns below which there is one pane.
const TWO_PANES: u16 = 60;
/// Most rows of what is being written.
const WRITTEN: usize = 5;

/// Draws all of it. Whether the newest message of the channel is on the screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, styles: Styles) -> bool {
    let area = frame.area();
    let written = written_rows(model, area.width.into());
    let height = u16::try_from(written.len())
        .unwrap_or(1)
        .clamp(1, (area.height / 3).max(1));
    let [title, main, rule, input, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(height),
        Constraint::Length(1),
    ])
    .areas(area);
    put(frame, title, vec![title_line(model, styles, area.width)]);
    let is_wide = area.width >= TWO_PANES;
    let (list, messages) = match (is_wide, model.shows_list) {
        (true, _) => {
            let side = Constraint::Length((area.width / 4).clamp(20, 32));
            let [list, gap, messages] =
                Layout::horizontal([side, Constraint::Length(2), Constraint::Min(1)]).areas(main);
            let bar = vec![Line::styled("│", styles.quiet()); gap.height.into()];
            put(frame, gap, bar);
            (Some(list), Some(messages))
        }
        (false, true) => (Some(main), None),
        (false, false) => (None, Some(main)),
    };
    if let Some(list) = list {
        put(frame, list, list_rows(model, styles, list));
    }
    let is_seen = messages.is_some_and(|area| messages_pane(frame, area, model, styles));
    put(frame, rule, vec![rule_line(model, styles, area.width)]);
    let hidden = written.len().saturating_sub(height.into());
    let cursor = written.last().map_or(0, |row| lines::columns(row));
    put(
        frame,
        input,
        written.into_iter().skip(hidden).map(Line::raw).collect(),
    );
    let column = u16::try_from(cursor)
        .unwrap_or(u16::MAX)
        .min(area.width.saturating_sub(1));
    frame.set_cursor_position(Position::new(column, input.bottom().saturating_sub(1)));
    // The end is cut off where there is no room.
    let keys = match is_wide {
        true => {
            "Enter send · Ctrl-C end · Tab next channel · ↑↓ PgUp PgDn scroll · Alt-Enter new line · Ctrl-R send again"
        }
        false => "Enter send · ^C end · Tab next · ^L channels · PgUp scroll",
    };
    let keys = lines::cut(keys, area.width.into());
    put(frame, help, vec![Line::styled(keys, styles.quiet())]);
    is_seen
}

fn put(frame: &mut Frame<'_>, area: Rect, rows: Vec<Line<'static>>) {
    frame.render_widget(Paragraph::new(rows), area);
}

fn title_line(model: &Model, styles: Styles, width: u16) -> Line<'static> {
    let mut title = "Plexus channels".to_owned();
    if let Some(why) = &model.lost {
        title.push_str(&format!(
            " · NOT CONNECTED, trying again: {}",
            text::line(why)
        ));
    }
    for away in &model.away {
        title.push_str(&format!(" · AWAY, trying again: {away}"));
    }
    if !model.is_listed && model.lost.is_none() {
        title.push_str(" · looking");
    }
    let colour = match model.lost.is_some() || !model.away.is_empty() {
        true => styles.colour(Color::Yellow),
        false => Style::new(),
    };
    Line::styled(
        lines::cut(&title, width.into()),
        colour.patch(styles.strong()),
    )
}

/// What the channel's own rule says: what is wrong, or what the person should know.
fn rule_line(model: &Model, styles: Styles, width: u16) -> Line<'static> {
    let shown = model.shown();
    let said = match (
        &model.note,
        shown.and_then(|channel| channel.trouble.as_ref()),
    ) {
        (Some(note), _) => note.clone(),
        (None, Some(why)) => format!("NOT READ, trying again: {}", text::line(why)),
        (None, None) => match shown {
            Some(channel) if channel.is_left => format!("{LEFT}: it takes no message"),
            Some(channel) if channel.is_archived => "archived: takes no message".to_owned(),
            Some(channel) => match &channel.keys {
                Some(keys) => {
                    let (source, id) = &channel.key;
                    format!("{keys}: plexusctl channels --source {source} members {id}")
                }
                None if channel.up > 0 => "MORE BELOW: End".to_owned(),
                None => "write to all members".to_owned(),
            },
            None => String::new(),
        },
    };
    let said = lines::cut(&format!("── {said} "), width.into());
    let rest = usize::from(width).saturating_sub(lines::columns(&said));
    Line::styled(format!("{said}{}", "─".repeat(rest)), styles.quiet())
}

/// The channels, each with what is unread before its name: a name cannot push that aside.
fn list_rows(model: &Model, styles: Styles, area: Rect) -> Vec<Line<'static>> {
    if model.channels.is_empty() {
        let said = match model.is_listed {
            true => "no channels: plexusctl channels create NAME",
            false => "",
        };
        let rows = lines::wrap(said, area.width.into());
        return rows.into_iter().map(Line::raw).collect();
    }
    let height = usize::from(area.height);
    let more = (model.more > 0).then(|| format!("  and {} more", model.more));
    let room = height.saturating_sub(usize::from(more.is_some())).max(1);
    let from = (model.at + 1).saturating_sub(room);
    let row = |(at, channel): (usize, &Channel)| {
        let mark = if at == model.at { '▸' } else { ' ' };
        let unread = match channel.unread {
            (0, false) => String::new(),
            (count, false) => count.to_string(),
            (_, true) => format!("{}+", super::model::COUNTED),
        };
        let archived = match (channel.is_left, channel.is_archived) {
            (true, _) => "[left] ",
            (false, true) => "[archived] ",
            (false, false) => "",
        };
        let name = name_of(model, channel);
        let line = format!("{mark}{unread:>3} {archived}{name}");
        let line = lines::cut(&line, area.width.into());
        match (at == model.at, channel.unread.0 > 0) {
            (true, _) => Line::styled(line, styles.chosen()),
            (false, true) => Line::styled(line, styles.strong()),
            (false, false) => Line::raw(line),
        }
    };
    let rows = model.channels.iter().enumerate().skip(from).take(room);
    rows.map(row).chain(more.map(Line::raw)).collect()
}

/// A channel's name. Two that look the same are told apart by what nobody can choose: the end of the id, and the source where
/// the person is in one channel twice.
fn name_of(model: &Model, channel: &Channel) -> String {
    let plain = |channel: &Channel| channel.name.clone().unwrap_or_default();
    let mut same = model
        .channels
        .iter()
        .filter(|other| looks_like(&plain(other), &plain(channel)) && other.key != channel.key)
        .peekable();
    let (source, id) = &channel.key;
    let name = channel_name(channel.name.as_deref());
    match (same.peek().is_some(), same.any(|other| other.key.1 == *id)) {
        (false, _) => name,
        (true, false) => format!("#{} {name}", end_of(id)),
        (true, true) => format!("#{} {source} {name}", end_of(id)),
    }
}

/// Draws the messages of the channel; whether its newest is among them.
fn messages_pane(frame: &mut Frame<'_>, area: Rect, model: &mut Model, styles: Styles) -> bool {
    let name = model.shown().map(|channel| name_of(model, channel));
    let (Some(name), Some(channel)) = (name, model.shown_mut()) else {
        return false;
    };
    let [head, pane] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    put(
        frame,
        head,
        vec![Line::styled(
            head_of(channel, &name, area.width),
            styles.strong(),
        )],
    );
    let rows = message_rows(channel, styles, pane.width.into());
    let (all, height) = (rows.len(), usize::from(pane.height));
    // Who reads further up stays where they are when something comes.
    let newest = channel.newest().map(str::to_owned);
    if channel.up > 0 && channel.drawn.0 != newest {
        channel.up += all.saturating_sub(channel.drawn.1);
    }
    channel.drawn = (newest, all);
    let top = all.saturating_sub(height);
    channel.up = channel.up.min(top);
    channel.page = height.saturating_sub(1).max(1);
    if channel.up == top && channel.has_older {
        channel.wants_older = true;
    }
    let rows = rows.into_iter().skip(top - channel.up).take(height);
    put(frame, pane, rows.collect());
    channel.up == 0 && channel.is_loaded
}

fn head_of(channel: &Channel, name: &str, width: u16) -> String {
    let (names, count) = &channel.members;
    let members = counted(*count, "member");
    let head = format!("{members} · {name} · {}", names.join(", "));
    lines::cut(&head, width.into())
}

fn message_rows(channel: &Channel, styles: Styles, width: usize) -> Vec<Line<'static>> {
    let rule =
        |said: &str| Line::styled(lines::cut(&format!("── {said} ──"), width), styles.quiet());
    if !channel.is_loaded {
        let said = if channel.trouble.is_some() {
            "not read"
        } else {
            "looking"
        };
        return vec![rule(said)];
    }
    let mut rows = vec![match (channel.has_older, channel.wants_older) {
        (true, _) => rule("older messages: PgUp"),
        (false, _) => rule("the beginning"),
    }];
    let read = channel.read_before.as_deref();
    let mut is_new = false;
    for message in &channel.messages {
        let is_unread = read < Some(&message.id) && !message.sender.you;
        if is_unread && !is_new {
            is_new = true;
            rows.push(rule("new"));
        }
        rows.extend(rows_of(message, styles, width));
    }
    rows.extend(
        channel
            .own
            .iter()
            .flat_map(|own| own_rows(own, styles, width)),
    );
    rows
}

/// A message: when, by whose key, from whom; below it the text.
fn rows_of(message: &Message, styles: Styles, width: usize) -> Vec<Line<'static>> {
    let sender = &message.sender;
    let key = match &sender.fingerprint {
        _ if sender.you => "sent".to_owned(),
        // Enough to notice another one; `verify` shows all of it.
        Some(key) => text::line(key.get(..9).unwrap_or(key)),
        None => "NO KEY".to_owned(),
    };
    let head = format!("{}  {key}  {}", moment(&message.at), who(sender));
    laid(&head, &body(message), styles.strong(), width)
}

/// A text of the person's own that the history does not have yet.
fn own_rows(own: &OwnText, styles: Styles, width: usize) -> Vec<Line<'static>> {
    let (said, style) = match &own.fate {
        TextStatus::Waiting => ("waiting  you".to_owned(), styles.quiet()),
        TextStatus::UnderWay => ("sending …  you".to_owned(), styles.quiet()),
        TextStatus::Taken(_) => ("sent  you".to_owned(), styles.strong()),
        TextStatus::Doubt(why) => (
            format!("NOT KNOWN TO BE SENT  you: {}", text::line(why)),
            styles.colour(Color::Yellow),
        ),
        TextStatus::NotSent(why) => (
            format!("NOT SENT  you: {} (Ctrl-R sends it again)", text::line(why)),
            styles.colour(Color::Yellow),
        ),
        TextStatus::Barred(why) | TextStatus::Refused(why) => (
            format!("NOT SENT  you: {}", text::line(why)),
            styles.colour(Color::Yellow),
        ),
    };
    let at = moment(&own.at.to_string());
    let texts = text::lines(&own.text).map(|line| format!("    {line}"));
    laid(
        &format!("{at}  {said}"),
        &texts.collect::<Vec<_>>(),
        style,
        width,
    )
}

fn laid(head: &str, texts: &[String], style: Style, width: usize) -> Vec<Line<'static>> {
    let head = lines::wrap(head, width).into_iter();
    let texts = texts.iter().flat_map(|line| lines::wrap(line, width));
    head.map(|row| Line::styled(row, style))
        .chain(texts.map(Line::raw))
        .collect()
}

/// What is being written, in rows; the end of it where it is long.
fn written_rows(model: &Model, width: usize) -> Vec<String> {
    let draft = model.shown().map_or("", |channel| &*channel.draft);
    // One column stays for the cursor.
    let width = width.saturating_sub(1).max(4);
    let all = draft.split('\n').enumerate().flat_map(|(at, line)| {
        let sign = if at == 0 { '>' } else { ' ' };
        lines::wrap(&format!("{sign} {}", text::block(line)), width)
    });
    let mut rows: Vec<_> = all.collect();
    rows.drain(..rows.len().saturating_sub(WRITTEN));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::model::{Answer, Ask};
    use super::*;
    use crate::channels::tail::Cursor;
    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    const FORGED: &str = "2026-11-23 05:31:39  ffff ffff  from Boss";

    fn model() -> Model {
        let mut model = Model::new(None, BTreeMap::new());
        let named = |id: &str| {
            let name = format!("sums\u{1b}[2J{}{FORGED}", " ".repeat(80));
            json!({"source": "talk", "id": id, "name": name, "status": "active", "memberCount": 2, "keys": "authenticated",
                "members": [{"id": "U", "kind": "human", "name": "Pat\u{202e}"}], "lastMessage": "1"})
        };
        let all = json!({"channels": [named("AAAAAA111111"), named("AAAAAA222222")], "more": 0, "you": [], "away": []});
        let all = serde_json::from_value(all).expect("channels");
        model.answered(&Ask::List, Ok(Answer::Channels(all)));
        let text = format!("one\n{FORGED}\r\u{1b}[31m\n{}{FORGED}", "x ".repeat(120));
        let message = json!({"id": "1", "at": "2026-11-23T05:31:38.123Z", "text": text,
            "sender": {"id": "U", "name": format!("you {FORGED}"), "you": false, "fingerprint": "1a2b 3c4d 5e6f"}});
        let key = model.shown().expect("a channel").key.clone();
        model.answered(&Ask::Page(key, Cursor::Newest, 50), Ok(page(message)));
        model
    }

    fn page(message: Value) -> Answer {
        let page = json!({"channel": "C", "source": "talk", "messages": [message], "more": false});
        Answer::Messages(serde_json::from_value(page).expect("messages"))
    }

    fn drawn(model: &mut Model, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        let styles = Styles { colour: false };
        let picture = terminal.draw(|frame| {
            draw(frame, model, styles);
        });
        let buffer = picture.expect("drawn").buffer.clone();
        let row = |row| {
            (0..columns)
                .map(|column| buffer[(column, row)].symbol())
                .collect()
        };
        (0..rows).map(row).collect()
    }

    #[test]
    fn text_of_another_begins_no_row_of_its_pane() {
        for (columns, rows) in [
            (120, 40),
            (80, 24),
            (60, 60),
            (40, 60),
            (20, 60),
            (7, 4),
            (1, 1),
        ] {
            let mut model = model();
            let picture = drawn(&mut model, columns, rows);
            let side = match columns >= TWO_PANES {
                true => usize::from((columns / 4).clamp(20, 32)) + 2,
                false => 0,
            };
            let body: Vec<_> = picture
                .iter()
                .skip(2)
                .map(|row| row.chars().skip(side).collect::<String>())
                .collect();
            // One message: one row of ours begins with its moment.
            let heads = body.iter().filter(|row| row.starts_with("2026-")).count();
            if rows > 20 && columns >= 20 {
                assert_eq!(heads, 1, "{columns}x{rows}: {picture:#?}");
            }
            assert!(
                !picture.concat().contains(['\u{1b}', '\u{202e}', '\r']),
                "{picture:#?}"
            );
        }
    }

    #[test]
    fn two_identities_in_one_channel_differ_and_the_way_out_is_shown() {
        let of = |source: &str, id: &str| {
            json!({"source": source, "id": id, "name": "sums", "status": "active", "memberCount": 1, "keys": "authenticated",
                "members": [{"id": "U", "kind": "human", "name": "Pat", "left": true}], "lastMessage": null})
        };
        let rows = [of("talk", "01AAAAAA"), of("work", "01AAAAAA")];
        let all = json!({"channels": rows, "more": 0, "you": [], "away": []});
        let mut model = Model::new(None, BTreeMap::new());
        let all = serde_json::from_value(all).expect("channels");
        model.answered(&Ask::List, Ok(Answer::Channels(all)));
        let picture = drawn(&mut model, 120, 20).join("\n");
        for shown in [
            "#AAAAAA talk \"sums\"",
            "#AAAAAA work \"sums\"",
            "1 member · #AAAAAA talk \"sums\" · \"Pat\" left (the next message has a new key)",
        ] {
            assert!(picture.contains(shown), "{shown}: {picture}");
        }
        for (columns, end) in [(45, "^C end"), (60, "Ctrl-C end"), (100, "Ctrl-C end")] {
            let picture = drawn(&mut model, columns, 20).join("\n");
            assert!(picture.contains(end), "{picture}");
        }
    }

    #[test]
    fn narrow_screen_shows_one_pane_at_a_time() {
        let mut model = model();
        let messages = drawn(&mut model, 40, 24).concat();
        assert!(
            messages.contains("1a2b 3c4d") && !messages.contains("#222222"),
            "{messages}"
        );
        model.shows_list = true;
        let list = drawn(&mut model, 40, 24).concat();
        assert!(
            list.contains("#222222") && !list.contains("1a2b 3c4d"),
            "{list}"
        );
        let both = drawn(&mut model, 100, 24).concat();
        assert!(
            both.contains("#222222") && both.contains("1a2b 3c4d"),
            "{both}"
        );
    }

    #[test]
    fn who_reads_further_up_stays_there_when_something_comes() {
        let mut model = model();
        let picture = drawn(&mut model, 40, 12);
        model.shown_mut().expect("a channel").up = 3;
        let above = drawn(&mut model, 40, 12);
        assert_ne!(picture, above);
        let next = json!({"id": "2", "at": "2026-11-23T05:32:38.123Z", "text": "next",
            "sender": {"id": "U", "name": "Pat", "you": false, "fingerprint": "1a2b"}});
        let key = model.shown().expect("a channel").key.clone();
        let after = Ask::Page(key, Cursor::After("1".into()), 50);
        model.answered(&after, Ok(page(next)));
        assert_eq!(drawn(&mut model, 40, 12)[2..8], above[2..8]);
        assert!(drawn(&mut model, 40, 12).concat().contains("MORE BELOW"));
        model.shown_mut().expect("a channel").up = 0;
        assert!(drawn(&mut model, 40, 12).concat().contains("next"));
    }

    #[test]
    fn own_text_says_what_became_of_it_in_words() {
        let mut model = model();
        let channel = model.shown_mut().expect("a channel");
        for fate in [
            TextStatus::Waiting,
            TextStatus::UnderWay,
            TextStatus::Taken("9".into()),
            TextStatus::Doubt("lost".into()),
            TextStatus::NotSent("away".into()),
            TextStatus::Barred("archived".into()),
            TextStatus::Refused("too long".into()),
        ] {
            channel.draft = "mine".into();
            channel.say();
            channel.own.last_mut().expect("said").fate = fate;
        }
        let picture = drawn(&mut model, 100, 60).concat();
        for word in [
            "waiting  you",
            "sending …  you",
            "sent  you",
            "NOT KNOWN TO BE SENT  you: lost",
            "NOT SENT  you: away (Ctrl-R sends it again)",
            "NOT SENT  you: archived  ",
            "NOT SENT  you: too long  ",
        ] {
            assert!(picture.contains(word), "{word}: {picture}");
        }
    }
}
