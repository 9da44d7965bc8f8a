//! Answers, as agents and the owner read them.
//!
//! Invariant: who sent a message is shown by the pinned key that opened it; a name is the relay's word.

use jiff::Timestamp;
use plexus_channels::account::{Account, AccountError, KeyNews, Opened, Standing};
use plexus_channels::chain::StateView;
use plexus_channels::crypto::Content;
use plexus_channels::state::{Outgoing, Unsent};
use plexus_channels::wire::{Channel, Code, Kind, Member, Profile, Status};
use plexus_channels::{Id, PublicKey};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization as _;

/// Members that a list of channels names one by one, and users who went that its keys do.
const NAMED: usize = 20;
/// Versions of a key that are shown.
const VERSIONS: usize = 20;

/// Who this source is.
#[derive(Debug, Serialize)]
pub(crate) struct You {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    pub(crate) relay: String,
}

/// A user by the relay's word.
#[derive(Debug, Serialize)]
pub(crate) struct User {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Left the channel: the next message has a new key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) left: bool,
}

/// A channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelView {
    pub(crate) id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) status: Status,
    pub(crate) members: Vec<User>,
    pub(crate) member_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_message: Option<Id>,
    /// `authenticated`, `unauthenticated`, `unsigned` or `stopped`.
    pub(crate) keys: &'static str,
}

/// How the keys of a channel came about.
#[derive(Debug, Serialize)]
pub(crate) struct KeysView {
    /// As in [`ChannelView`].
    state: &'static str,
    /// The version with which this source came in: the key to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<SignedView>,
    /// Where it is stopped: the other key of a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<SignedView>,
    /// The newest last; further ones are not shown.
    versions: Vec<VersionView>,
}

/// Who signed a version.
#[derive(Debug, Serialize)]
struct SignedView {
    version: u32,
    by: Id,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The beginning of the hash of what was signed.
    state: String,
}

/// A version, with who came and who went.
#[derive(Debug, Serialize)]
struct VersionView {
    #[serde(flatten)]
    signed: SignedView,
    added: Vec<NamedView>,
    removed: Vec<NamedView>,
}

/// A user whom a version names; several may have one name.
#[derive(Debug, Serialize)]
struct NamedView {
    id: Id,
    name: String,
}

/// A message.
#[derive(Debug, Serialize)]
pub(crate) struct MessageView {
    pub(crate) id: Id,
    pub(crate) at: Timestamp,
    pub(crate) sender: Sender,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Why there is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<String>,
}

/// A message that was kept and refused later.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnsentView {
    id: Id,
    channel: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    why: String,
    may_be_there: bool,
}

impl From<Unsent> for UnsentView {
    fn from(unsent: Unsent) -> Self {
        Self {
            id: unsent.id,
            channel: unsent.channel_id,
            name: unsent.channel_name,
            at: unsent.at,
            text: unsent.text,
            why: unsent.why,
            may_be_there: unsent.may_be_there,
        }
    }
}

/// A message that the relay has not judged yet.
#[derive(Debug, Serialize)]
pub(crate) struct WaitingView {
    id: Id,
    channel: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// When it was sealed last.
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl From<Outgoing> for WaitingView {
    fn from(waiting: Outgoing) -> Self {
        let id = waiting.post.client_message_id;
        let at = i64::try_from(id.millis()).ok();
        let at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
        Self {
            id,
            channel: waiting.channel_id,
            name: waiting.channel_name,
            at: at.unwrap_or_default(),
            text: waiting.text,
        }
    }
}

/// Who sent it.
#[derive(Debug, Serialize)]
pub(crate) struct Sender {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) you: bool,
    /// Of the pinned key that opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
}

/// A user with the keys of their devices.
#[derive(Debug, Serialize)]
pub(crate) struct Person {
    #[serde(flatten)]
    pub(crate) user: User,
    pub(crate) you: bool,
    pub(crate) devices: Vec<Device>,
}

/// A device, as the relay shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Device {
    fingerprint: String,
    /// `pinned`, `new`, or `changed`: not the key that was pinned, so it is not used.
    state: &'static str,
}

/// A name that another has chosen, on a card: where it ends is seen.
pub(crate) fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

impl User {
    pub(crate) fn of(member: &Member) -> Self {
        Self {
            id: member.id,
            kind: member.kind,
            name: member.name.clone(),
            left: false,
        }
    }

    /// The members of a channel, those who left marked.
    pub(crate) fn members_of(channel: &Channel) -> impl Iterator<Item = Self> {
        channel.members.iter().map(|member| Self {
            left: channel.left.contains(&member.id),
            ..Self::of(member)
        })
    }

    /// As a card names them.
    pub(crate) fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Agent => "agent",
            Kind::Human => "person",
        };
        let left = if self.left { ", left" } else { "" };
        format!("{} ({kind}{left})", quoted(&self.name))
    }

    /// The same among others: those whose names differ at most in their Unicode form have the ends of their ids.
    pub(crate) fn line_among(&self, all: &[Self]) -> String {
        let is_same = |other: &&Self| other.name.nfc().eq(self.name.nfc());
        let same = all.iter().filter(is_same);
        if same.count() < 2 {
            return self.line();
        }
        let id = self.id.to_string();
        let end = id.get(id.len().saturating_sub(6)..).unwrap_or(&id);
        format!("{} #{end}", self.line())
    }
}

impl ChannelView {
    pub(crate) async fn of(account: &Account, channel: &Channel) -> Result<Self, AccountError> {
        let name = match account.name_of(channel).await {
            Ok(name) => Some(name),
            // One whose name does not open is still there.
            Err(AccountError::Trouble(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            id: channel.id,
            name,
            status: channel.status,
            members: User::members_of(channel).take(NAMED).collect(),
            member_count: channel.members.len(),
            last_message: channel.last_message_id,
            keys: standing(account, channel.id)?,
        })
    }
}

/// How far the keys of a channel can be relied on, in a word.
pub(crate) fn standing(account: &Account, channel: Id) -> Result<&'static str, AccountError> {
    Ok(match account.standing(channel)? {
        Standing::Authenticated { .. } => "authenticated",
        Standing::Unauthenticated => "unauthenticated",
        Standing::Unsigned => "unsigned",
        Standing::Stopped { .. } => "stopped",
    })
}

impl KeysView {
    pub(crate) async fn of(account: &Account, channel: &Channel) -> Result<Self, AccountError> {
        let mut versions = account.versions(channel.id)?;
        versions.drain(..versions.len().saturating_sub(VERSIONS));
        let members = channel.members.iter();
        let mut names: BTreeMap<Id, String> = members
            .map(|member| (member.id, member.name.clone()))
            .collect();
        let (began, second) = match account.standing(channel.id)? {
            Standing::Authenticated { began, .. } => (Some(began), None),
            Standing::Stopped { held, second } => (Some(held), Some(second)),
            Standing::Unauthenticated | Standing::Unsigned => (None, None),
        };
        let mut named = named_in(&versions);
        named.extend(began.iter().chain(&second).map(|state| state.user_id));
        // Those who went have names still, each a question to the relay: further ones are ids.
        named.retain(|id| !names.contains_key(id));
        for id in named.into_iter().take(NAMED) {
            match account.api().user(id).await {
                Ok(user) => drop(names.insert(id, user.name)),
                Err(error) if error.code() == Some(Code::NotFound) => {}
                Err(_) => break,
            }
        }
        let name = |id: Id| {
            let known = names.get(&id).cloned();
            known.unwrap_or_else(|| id.to_string())
        };
        let user = |id: Id| NamedView { id, name: name(id) };
        let signed = |state: StateView| SignedView {
            version: state.key_version,
            by: state.user_id,
            name: name(state.user_id),
            fingerprint: state.key.map(|key| key.to_string()),
            state: state.state.to_string(),
        };
        let version = |news| match news {
            KeyNews::Renewed {
                state,
                added,
                removed,
                ..
            } => Some(VersionView {
                signed: signed(state),
                added: added.into_iter().map(user).collect(),
                removed: removed.into_iter().map(user).collect(),
            }),
            KeyNews::Began(..) | KeyNews::Refused(..) => None,
        };
        Ok(Self {
            state: standing(account, channel.id)?,
            began: began.map(signed),
            second: second.map(signed),
            versions: versions.into_iter().filter_map(version).collect(),
        })
    }
}

/// The users whom versions name.
fn named_in(versions: &[KeyNews]) -> BTreeSet<Id> {
    let mut named = BTreeSet::new();
    for version in versions {
        if let KeyNews::Renewed {
            state,
            added,
            removed,
            ..
        } = version
        {
            named.insert(state.user_id);
            named.extend(added.iter().chain(removed));
        }
    }
    named
}

impl MessageView {
    pub(crate) fn of(account: &Account, opened: Opened) -> Self {
        let message = opened.message;
        let (text, unreadable) = match opened.content {
            Ok(Content::Text(text)) => (Some(text), None),
            Ok(Content::Unsupported) => (None, Some("a message of an unknown type".to_owned())),
            Err(trouble) => (None, Some(trouble.to_string())),
        };
        let key = account.pinned_key(message.sender_id, message.sender_device_id);
        // What did not open proves nothing.
        let key = key.filter(|_| text.is_some());
        Self {
            id: message.message_id,
            at: message.created_at,
            sender: Sender {
                you: message.sender_id == account.identity().facts.agent_id,
                id: message.sender_id,
                name: message.sender_name,
                fingerprint: key.map(|key| key.shown_fingerprint()),
            },
            text,
            unreadable,
        }
    }

    /// Bytes of its text.
    pub(crate) fn len(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }
}

impl Person {
    pub(crate) fn of(account: &Account, profile: &Profile) -> Self {
        let device = |device: &plexus_channels::wire::Device| {
            let shown = PublicKey::from_bytes(&device.public_key.0).ok();
            let pinned = account.pinned_key(profile.id, device.device_id);
            Device {
                state: match &pinned {
                    None => "new",
                    Some(pinned) if shown.as_ref() == Some(pinned) => "pinned",
                    Some(_) => "changed",
                },
                fingerprint: shown.map_or_else(String::new, |key| key.shown_fingerprint()),
            }
        };
        Self {
            user: User {
                id: profile.id,
                kind: profile.kind,
                name: profile.name.clone(),
                left: false,
            },
            you: profile.id == account.identity().facts.agent_id,
            devices: profile.devices.iter().map(device).collect(),
        }
    }
}
