//! One channel of the chat: its messages as far as they are loaded, and what the person writes in it.
//!
//! Invariant: messages are in the order of their ids, each once, whatever comes in which order.

use super::super::tail::Cursor;
use super::model::{COUNTED, Key};
use crate::channels::shown::{names, warning};
use plexus_client::Stop;
use plexus_owner::channels::{ChannelRow, ChannelStatus, Message, Messages};
use plexus_protocol::Timestamp;

/// Why nothing goes out to a channel whose list of members lacks the person.
pub(super) const LEFT: &str = "you are no longer in that channel";

/// What became of a text of the person's own.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextStatus {
    /// It goes out after those before it.
    Waiting,
    /// It is on its way.
    UnderWay,
    /// The relay has it, under this id.
    Taken(String),
    /// The relay may have it; why that is not known.
    Doubt(String),
    /// It was not sent, and why: sent again, it may go through.
    NotSent(String),
    /// The channel does not take it as it is, and why: sent again at once, it would end the same way.
    Barred(String),
    /// It is refused for good, and why: it is never sent again.
    Refused(String),
}

impl TextStatus {
    /// What a refusal makes of a text, of which nothing was done.
    pub(super) fn refused(stop: Stop) -> Self {
        let reason = stop.reason.as_deref();
        match (&*stop.code, reason) {
            ("schema_validation_failed", _) | (_, Some("refused")) => Self::Refused(stop.why),
            (_, Some("archived" | "not_found" | "not_safe")) => Self::Barred(stop.why),
            _ => Self::NotSent(stop.why),
        }
    }
}

/// A text of the person's own that is not in the history yet.
#[derive(Debug)]
pub(super) struct OwnText {
    /// What it says.
    pub(super) text: String,
    /// When it was written.
    pub(super) at: Timestamp,
    /// What became of it.
    pub(super) fate: TextStatus,
    /// The newest message before it.
    after: Option<String>,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) key: Key,
    pub(super) name: Option<String>,
    pub(super) is_archived: bool,
    /// What is to be said of its keys.
    pub(super) keys: Option<String>,
    /// Whether the person is no member any more: it stays for what they wrote, and while it is shown.
    pub(super) is_left: bool,
    /// Names of the first members, as they are shown, and how many there are.
    pub(super) members: (Vec<String>, u64),
    /// The newest message, as the relay lists it.
    pub(super) last: Option<String>,
    /// What is loaded, oldest first.
    pub(super) messages: Vec<Message>,
    pub(super) is_loaded: bool,
    /// Whether the relay lists messages and none is loaded.
    pub(super) is_behind: bool,
    pub(super) has_older: bool,
    pub(super) wants_older: bool,
    /// Messages of others that were not on the screen, and whether there are more.
    pub(super) unread: (u32, bool),
    /// The newest message that the count takes in.
    pub(super) counted_to: Option<String>,
    /// The first message that was unread when the channel came on the screen follows this one.
    pub(super) read_before: Option<String>,
    /// Texts that are not in the history yet.
    pub(super) own: Vec<OwnText>,
    /// What is being written.
    pub(super) draft: String,
    /// Rows between the end and what is shown.
    pub(super) up: usize,
    /// Rows of a page; set by the view.
    pub(super) page: usize,
    /// The newest message at the last drawing, and all rows there were.
    pub(super) drawn: (Option<String>, usize),
    /// Why the last question about it failed.
    pub(super) trouble: Option<String>,
}

impl Channel {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            name: None,
            is_archived: false,
            keys: None,
            is_left: false,
            members: (Vec::new(), 0),
            last: None,
            messages: Vec::new(),
            is_loaded: false,
            is_behind: false,
            has_older: false,
            wants_older: false,
            unread: (0, false),
            counted_to: None,
            read_before: None,
            own: Vec::new(),
            draft: String::new(),
            up: 0,
            page: 1,
            drawn: (None, 0),
            trouble: None,
        }
    }

    /// What it is sorted by: what can be written in comes first.
    pub(super) fn order(&self) -> (bool, String, &Key) {
        let name = self.name.as_deref().unwrap_or("\u{10ffff}");
        (self.is_archived, name.to_lowercase(), &self.key)
    }

    /// Why it takes no message at present, as far as its list says.
    pub(super) const fn closed(&self) -> Option<&'static str> {
        match (self.is_left, self.is_archived) {
            (true, _) => Some(LEFT),
            (false, true) => Some("the channel is archived and takes no message"),
            (false, false) => None,
        }
    }

    /// Whether the person wrote something in it that the relay does not have.
    pub(super) fn holds_words(&self) -> bool {
        let is_unsent = |own: &OwnText| !matches!(own.fate, TextStatus::Taken(_));
        !self.draft.trim().is_empty() || self.own.iter().any(is_unsent)
    }

    /// The person is no member any more: nothing is asked about it, and nothing goes out to it.
    pub(super) fn leave(&mut self) {
        (self.is_left, self.is_loaded, self.is_behind) = (true, true, false);
        (self.has_older, self.wants_older, self.trouble) = (false, false, None);
        self.last = self.newest().map(str::to_owned);
        self.counted_to.clone_from(&self.last);
        self.unread = (0, false);
        for own in &mut self.own {
            if own.fate == TextStatus::Waiting {
                own.fate = TextStatus::Barred(LEFT.to_owned());
            }
        }
    }

    /// Takes over what a list says of it.
    pub(super) fn list(&mut self, listed: ChannelRow, mark: Option<&str>) {
        self.is_left = false;
        self.name = listed.name;
        self.is_archived = listed.status == ChannelStatus::Archived;
        self.keys = warning(listed.keys);
        self.members = (names(&listed.members), listed.member_count);
        self.last = listed.last_message;
        self.is_behind = self.is_loaded && self.messages.is_empty() && self.last.is_some();
        if self.last.as_deref() <= mark {
            self.counted_to.clone_from(&self.last);
            self.unread = (0, false);
        }
        if !self.is_loaded {
            self.read_before = mark.map(str::to_owned);
        }
    }

    /// The id of the newest message that is loaded.
    pub(super) fn newest(&self) -> Option<&str> {
        self.messages.last().map(|message| &*message.id)
    }

    pub(super) fn oldest(&self) -> Option<&str> {
        self.messages.first().map(|message| &*message.id)
    }

    /// Takes a page in.
    pub(super) fn take(&mut self, cursor: &Cursor, page: Messages) {
        let Messages { messages, more, .. } = page;
        self.trouble = None;
        match cursor {
            Cursor::Newest => {
                self.messages = messages;
                (self.is_loaded, self.is_behind) = (true, false);
                self.has_older = more;
            }
            // More than a page of new ones: the newest page is read instead.
            Cursor::After(_) if more => self.is_loaded = false,
            Cursor::After(_) => self.messages.extend(messages),
            Cursor::Before(_) => {
                // A relay that has nothing more to give ends the history, whatever it says.
                self.has_older = more && !messages.is_empty();
                self.wants_older = false;
                self.messages.extend(messages);
            }
        }
        self.messages.sort_by(|a, b| a.id.cmp(&b.id));
        self.messages.dedup_by(|a, b| a.id == b.id);
        // What the relay lists and does not give is not asked for again before it lists something newer.
        if self.is_loaded && self.last.as_deref() > self.newest() {
            self.last = self.newest().map(str::to_owned);
        }
        self.settle();
    }

    /// How many of a page are others' messages.
    pub(super) fn count(&mut self, page: &Messages) {
        let messages = page.messages.iter();
        let of_others = messages.filter(|message| !message.sender.you);
        let of_others = u32::try_from(of_others.count()).unwrap_or(u32::MAX);
        self.unread = (of_others.min(COUNTED), page.more);
        self.counted_to.clone_from(&self.last);
        self.trouble = None;
    }

    /// Texts that the history has are the history's from now on.
    fn settle(&mut self) {
        let messages = &self.messages;
        let newest = messages.last().map(|message| &message.id);
        let mut found: Vec<&str> = Vec::new();
        self.own.retain(|own| match &own.fate {
            TextStatus::Taken(id) => newest < Some(id),
            // Nothing but its text says which message it became.
            TextStatus::Doubt(_) => {
                let is_it = |message: &&Message| {
                    message.sender.you
                        && message.text.as_ref() == Some(&own.text)
                        && own.after.as_ref() < Some(&message.id)
                        && !found.contains(&&*message.id)
                };
                let is_there = messages.iter().find(is_it);
                found.extend(is_there.map(|message| &*message.id));
                is_there.is_none()
            }
            TextStatus::Waiting
            | TextStatus::UnderWay
            | TextStatus::NotSent(_)
            | TextStatus::Barred(_)
            | TextStatus::Refused(_) => true,
        });
    }

    /// The draft is said.
    pub(super) fn say(&mut self) {
        self.own.push(OwnText {
            text: std::mem::take(&mut self.draft),
            at: plexus_client::span::now(),
            fate: TextStatus::Waiting,
            after: self.newest().map(str::to_owned),
        });
        self.up = 0;
    }

    /// What was not sent waits again, unless it was refused for good.
    pub(super) fn again(&mut self) {
        for own in &mut self.own {
            if matches!(own.fate, TextStatus::NotSent(_) | TextStatus::Barred(_)) {
                own.fate = TextStatus::Waiting;
            }
        }
    }

    /// The first text that waits, where none is under way.
    pub(super) fn begin_send(&mut self) -> Option<String> {
        if self.own.iter().any(|own| own.fate == TextStatus::UnderWay) {
            return None;
        }
        let newest = self.newest().map(str::to_owned);
        let own = self
            .own
            .iter_mut()
            .find(|own| own.fate == TextStatus::Waiting)?;
        own.fate = TextStatus::UnderWay;
        own.after = newest;
        Some(own.text.clone())
    }

    /// What became of the text under way. Behind one that was not sent, none goes.
    pub(super) fn end_send(&mut self, fate: TextStatus) {
        const BEHIND: &str = "the one before it did not get through";
        let behind = match &fate {
            TextStatus::Waiting | TextStatus::UnderWay | TextStatus::Taken(_) => None,
            TextStatus::Barred(_) => Some(TextStatus::Barred(BEHIND.to_owned())),
            TextStatus::NotSent(_) | TextStatus::Refused(_) | TextStatus::Doubt(_) => {
                Some(TextStatus::NotSent(BEHIND.to_owned()))
            }
        };
        let mut own = self.own.iter_mut();
        let Some(ended) = own.find(|own| own.fate == TextStatus::UnderWay) else {
            return;
        };
        ended.fate = fate;
        if let Some(behind) = behind {
            for own in own.filter(|own| own.fate == TextStatus::Waiting) {
                own.fate = behind.clone();
            }
        }
        self.settle();
    }
}
