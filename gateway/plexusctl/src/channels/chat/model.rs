//! What the chat shows, and what a key or an answer does to it. Pure: no terminal, no gateway.
//!
//! ```text
//! a text:  waiting ─▶ under way ─┬─▶ taken ─it is in the history─▶ a message
//!                                ├─▶ in doubt ─it is in the history─▶ a message
//!                                ├─▶ not sent, or barred by its channel ─Ctrl-R─▶ waiting
//!                                └─▶ refused for good
//! ```
//! Invariants: a text of the person's own counts as sent when the relay has it, never earlier; texts of one channel go out
//! in their order, and behind one that was not sent none goes; a message counts as read when it was on the screen; what
//! is asked of the gateway is bounded whatever the relay lists.

use super::super::tail::{Cursor, START};
use super::channel::{Channel, LEFT, OwnText, TextStatus};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use plexus_client::{Done, Stop, text};
use plexus_owner::channels::{Channels, Messages};
use plexus_protocol::SourceId;
use std::collections::BTreeMap;

/// Largest text, in bytes: the relay takes no longer one.
const TEXT: usize = 32_768;
/// Messages of the first page, and of each older one.
const PAGE: u32 = 50;
/// Messages of a page of new ones; where there are more, the newest page takes the place of what is shown.
const NEW: u32 = 200;
/// Unread messages that are counted.
pub(super) const COUNTED: u32 = 99;

/// A channel among those of all sources: the source, and the channel's id.
pub(super) type Key = (SourceId, String);

/// What is asked of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    /// All channels.
    List,
    /// A page of the channel that is shown.
    Page(Key, Cursor, u32),
    /// How many messages are unread.
    Count(Key, Cursor),
}

/// What the gateway answers.
pub(super) enum Answer {
    /// All channels.
    Channels(Channels),
    /// A page of messages.
    Messages(Messages),
}

/// What a key asks for.
#[derive(Debug, PartialEq)]
pub(super) enum ChatAction {
    /// Nothing beyond the screen.
    Nothing,
    /// End.
    Quit,
}

/// The state of the screen.
#[derive(Default)]
pub(super) struct Model {
    /// The channels, in the order of the screen.
    pub(super) channels: Vec<Channel>,
    /// The one that is shown.
    pub(super) at: usize,
    /// Whether the channels were ever listed.
    pub(super) is_listed: bool,
    /// On a narrow screen: whether the list has it.
    pub(super) shows_list: bool,
    /// Why the gateway is not heard at present.
    pub(super) lost: Option<String>,
    /// Sources that are away, and why.
    pub(super) away: Vec<String>,
    /// The last thing to say.
    pub(super) note: Option<String>,
    /// Channels that are not listed.
    pub(super) more: u64,
    /// Whether the list is to be read again.
    is_stale: bool,
    /// Nothing but the list is asked until it was read again: the last question failed.
    is_held: bool,
    /// The channel that is to be shown as soon as it is listed.
    wanted: Option<Key>,
    /// The newest message of each channel that was on the screen.
    marks: BTreeMap<String, String>,
    /// Whether they are to be saved.
    pub(super) is_read_anew: bool,
}

/// A channel's name in the file of marks.
fn mark_of((source, id): &Key) -> String {
    format!("{source}/{id}")
}

impl Model {
    /// An empty screen, which begins with this channel where one is named.
    pub(super) fn new(wanted: Option<Key>, marks: BTreeMap<String, String>) -> Self {
        Self {
            wanted,
            marks,
            is_stale: true,
            ..Self::default()
        }
    }

    /// The channel that is shown.
    pub(super) fn shown(&self) -> Option<&Channel> {
        self.channels.get(self.at)
    }

    pub(super) fn shown_mut(&mut self) -> Option<&mut Channel> {
        self.channels.get_mut(self.at)
    }

    /// What was read, to be saved.
    pub(super) const fn marks(&self) -> &BTreeMap<String, String> {
        &self.marks
    }

    /// There is a reason to look.
    pub(super) const fn look(&mut self) {
        self.is_stale = true;
    }

    /// What is to be asked next.
    pub(super) fn next_ask(&self) -> Option<Ask> {
        if self.is_stale {
            return Some(Ask::List);
        }
        if self.is_held {
            return None;
        }
        let page = |cursor, limit| {
            let key = self.shown().map(|channel| channel.key.clone());
            key.map(|key| Ask::Page(key, cursor, limit))
        };
        if let Some(channel) = self.shown() {
            match (&channel.last, channel.newest()) {
                _ if !channel.is_loaded => return page(Cursor::Newest, PAGE),
                (Some(last), Some(newest)) if last.as_str() > newest => {
                    return page(Cursor::After(newest.to_owned()), NEW);
                }
                (Some(_), None) if channel.is_behind => return page(Cursor::Newest, PAGE),
                _ => {}
            }
            if let (true, Some(oldest)) = (channel.wants_older, channel.oldest()) {
                return page(Cursor::Before(oldest.to_owned()), PAGE);
            }
        }
        let uncounted = |channel: &&Channel| channel.last != channel.counted_to;
        let channel = self.channels.iter().find(uncounted)?;
        let after = self.marks.get(&mark_of(&channel.key));
        let after = after.map_or(START, String::as_str).to_owned();
        Some(Ask::Count(channel.key.clone(), Cursor::After(after)))
    }

    /// The text that goes out next.
    pub(super) fn next_send(&mut self) -> Option<(Key, String)> {
        let mut channels = self.channels.iter_mut();
        channels.find_map(|channel| {
            let key = channel.key.clone();
            channel.begin_send().map(|text| (key, text))
        })
    }

    /// An answer came.
    pub(super) fn answered(&mut self, ask: &Ask, answer: Result<Answer, Stop>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(stop) => {
                self.is_stale = false;
                self.is_held = true;
                match ask {
                    Ask::List => self.lost = Some(stop.why),
                    Ask::Page(key, ..) | Ask::Count(key, _) => self.failed(key, stop),
                }
                return;
            }
        };
        let page = match answer {
            Answer::Channels(all) => return self.list(all),
            Answer::Messages(page) => page,
        };
        let (Ask::Page(key, ..) | Ask::Count(key, _)) = ask else {
            return;
        };
        let channel = self.channels.iter_mut().find(|c| c.key == *key);
        match (channel, ask) {
            (Some(channel), Ask::Page(_, cursor, _)) => channel.take(cursor, page),
            (Some(channel), Ask::Count(..)) => channel.count(&page),
            (None, _) | (_, Ask::List) => {}
        }
    }

    fn failed(&mut self, key: &Key, stop: Stop) {
        if let Some(channel) = self.channels.iter_mut().find(|c| c.key == *key) {
            channel.trouble = Some(stop.why);
        }
    }

    /// The channels as they are now; what was loaded of them stays.
    fn list(&mut self, all: Channels) {
        (self.is_stale, self.is_held, self.is_listed) = (false, false, true);
        self.lost = None;
        self.more = all.more;
        let away = all.away.iter();
        let away = away.map(|away| format!("{}: {}", away.source, text::line(&away.why)));
        self.away = away.collect();
        let shown = self.shown().map(|channel| channel.key.clone());
        let mut before = std::mem::take(&mut self.channels);
        for listed in all.channels {
            let key = (listed.source.clone(), listed.id.clone());
            let known = before.iter().position(|channel| channel.key == key);
            let mut channel = match known {
                Some(at) => before.swap_remove(at),
                None => Channel::new(key),
            };
            let mark = self.marks.get(&mark_of(&channel.key));
            channel.list(listed, mark.map(String::as_str));
            self.channels.push(channel);
        }
        // Of a source that is away nothing is listed; what is known of it stays.
        let is_away = |channel: &Channel| all.away.iter().any(|away| away.source == channel.key.0);
        let (kept, gone): (Vec<_>, Vec<_>) = before.into_iter().partition(is_away);
        self.channels.extend(kept);
        let is_shown = |channel: &Channel| Some(&channel.key) == shown.as_ref();
        if gone.iter().any(|left| is_shown(left) && !left.is_left) {
            self.note = Some(LEFT.to_owned());
        }
        // What the person wrote there and nobody has is not lost with it; and while it is shown it stays: what they type is for
        // no other.
        let stays = |channel: &Channel| channel.holds_words() || is_shown(channel);
        for mut channel in gone.into_iter().filter(stays) {
            channel.leave();
            self.channels.push(channel);
        }
        self.channels.sort_by(|a, b| a.order().cmp(&b.order()));
        let place = |key: &Key| self.channels.iter().position(|c| c.key == *key);
        self.at = shown.and_then(|key| place(&key)).unwrap_or(0);
        self.go_to_wanted();
    }

    /// Shows the channel that the person named, and no other one: what they type is for that one.
    fn go_to_wanted(&mut self) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        let at = self.channels.iter().position(|c| c.key == wanted);
        self.at = at.unwrap_or(self.channels.len());
        if at.is_none() {
            let mut channel = Channel::new(wanted);
            channel.leave();
            self.channels.push(channel);
        }
    }

    /// What became of a text.
    pub(super) fn sent(&mut self, key: &Key, end: Result<String, Stop>) {
        self.is_stale = true;
        let Some(channel) = self.channels.iter_mut().find(|c| c.key == *key) else {
            return;
        };
        let fate = match end {
            Ok(id) => TextStatus::Taken(id),
            Err(stop) if stop.done == Done::None => TextStatus::refused(stop),
            Err(stop) => TextStatus::Doubt(stop.why),
        };
        channel.end_send(fate);
    }

    /// The newest message of the shown channel is on the screen.
    pub(super) fn seen(&mut self) {
        let Some(channel) = self.channels.get_mut(self.at) else {
            return;
        };
        let Some(newest) = channel.newest().map(str::to_owned) else {
            return;
        };
        channel.counted_to.clone_from(&channel.last);
        channel.unread = (0, false);
        let mark = self.marks.entry(mark_of(&channel.key)).or_default();
        if *mark < newest {
            *mark = newest;
            self.is_read_anew = true;
        }
    }

    /// What is not sent yet, of all channels, with the channel's name.
    pub(super) fn unsent(&self) -> impl Iterator<Item = (&Channel, &OwnText)> {
        let all = self.channels.iter();
        all.flat_map(|channel| channel.own.iter().map(move |own| (channel, own)))
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> ChatAction {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let page = self.shown().map_or(1, |channel| channel.page);
        match key.code {
            KeyCode::Char('c') if control => return ChatAction::Quit,
            KeyCode::Char('d') if control && self.draft().is_none_or(str::is_empty) => {
                return ChatAction::Quit;
            }
            KeyCode::Char('l') if control => self.shows_list = !self.shows_list,
            KeyCode::Char('r') if control => self.again(),
            KeyCode::Char('u') if control => self.write(String::clear),
            KeyCode::Char('j') if control => self.write(|draft| draft.push('\n')),
            KeyCode::Enter if alt => self.write(|draft| draft.push('\n')),
            KeyCode::Tab => self.go(1),
            KeyCode::BackTab => self.go(self.channels.len().saturating_sub(1)),
            KeyCode::Char('n') if control => self.go(1),
            KeyCode::Char('p') if control => self.go(self.channels.len().saturating_sub(1)),
            KeyCode::Up => self.scroll(|up| up + 1),
            KeyCode::Down => self.scroll(|up| up.saturating_sub(1)),
            KeyCode::PageUp => self.scroll(|up| up + page),
            KeyCode::PageDown => self.scroll(|up| up.saturating_sub(page)),
            KeyCode::Home => self.scroll(|_| usize::MAX / 2),
            KeyCode::End => self.scroll(|_| 0),
            KeyCode::Esc => self.shows_list = false,
            KeyCode::Backspace => self.write(|draft| _ = draft.pop()),
            KeyCode::Enter => self.enter(),
            KeyCode::Char(c) if !control => self.paste(c.encode_utf8(&mut [0; 4])),
            _ => {}
        }
        ChatAction::Nothing
    }

    /// Adds to the text that is being written. Its line breaks stay.
    pub(super) fn paste(&mut self, pasted: &str) {
        let pasted = pasted.replace("\r\n", "\n").replace('\r', "\n");
        let is_text = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        let pasted: String = pasted.chars().filter(is_text).collect();
        self.note = None;
        let Some(channel) = self.shown_mut() else {
            return;
        };
        if channel.draft.len() + pasted.len() > TEXT {
            self.note = Some(format!("a message has at most {TEXT} bytes"));
        } else {
            channel.draft.push_str(&pasted);
        }
    }

    fn draft(&self) -> Option<&str> {
        self.shown().map(|channel| &*channel.draft)
    }

    fn write(&mut self, change: impl FnOnce(&mut String)) {
        self.note = None;
        if let Some(channel) = self.shown_mut() {
            change(&mut channel.draft);
        }
    }

    fn scroll(&mut self, to: impl FnOnce(usize) -> usize) {
        if let Some(channel) = self.shown_mut() {
            channel.up = to(channel.up);
        }
    }

    fn go(&mut self, by: usize) {
        if !self.channels.is_empty() {
            self.at = (self.at + by) % self.channels.len();
            self.note = None;
        }
    }

    fn enter(&mut self) {
        if self.shows_list {
            self.shows_list = false;
            return;
        }
        self.note = None;
        let Some(channel) = self.shown_mut() else {
            return;
        };
        if channel.draft.trim().is_empty() {
            return;
        }
        match channel.closed() {
            Some(why) => self.note = Some(why.to_owned()),
            None => channel.say(),
        }
    }

    /// Sends again what was not sent.
    fn again(&mut self) {
        self.note = None;
        let Some(channel) = self.shown_mut() else {
            return;
        };
        match channel.closed() {
            Some(why) => self.note = Some(why.to_owned()),
            None => channel.again(),
        }
    }
}

#[cfg(test)]
mod tests;
