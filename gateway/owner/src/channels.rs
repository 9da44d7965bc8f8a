//! Conversations of people and agents, as the owner takes part in them. What is in a channel is its source's to say.
//!
//! Invariant: the members of an act beside `source` are what its source reads as the input of that act.

use crate::{Done, wire};
use plexus_protocol::SourceId;
use serde::{Deserialize, Serialize};

/// The channels of all sources.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// The channels of all sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Channels {
    /// Each in short.
    pub channels: Vec<ChannelRow>,
    /// How many more there are.
    pub more: u64,
    /// Who the sources are at their relays.
    pub you: Vec<Identity>,
    /// Sources that do not answer.
    pub away: Vec<Away>,
}

/// A channel in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRow {
    /// Its id.
    pub id: String,
    /// Its name; none where it does not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it takes messages.
    pub status: ChannelStatus,
    /// The first of its members.
    pub members: Vec<User>,
    /// How many it has.
    pub member_count: u64,
    /// Its newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// How far its keys can be relied on.
    pub keys: KeyState,
    /// The source that is a member of it.
    pub source: SourceId,
    /// Whether that source speaks there by itself, and the owner does not.
    #[serde(default)]
    pub peer: bool,
}

/// Whether a channel takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelStatus {
    /// It does.
    Active,
    /// It can be read.
    Archived,
}

impl ChannelStatus {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
        }
    }
}

/// How far the keys of a channel can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Members signed them.
    Authenticated,
    /// A client of before made them; the relay could have.
    Unauthenticated,
    /// Nobody signed them; they are not used.
    Unsigned,
    /// Two of one version are signed; nothing is sent.
    Stopped,
}

impl KeyState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::Unauthenticated => "unauthenticated",
            Self::Unsigned => "unsigned",
            Self::Stopped => "stopped",
        }
    }
}

/// A user, by the relay's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Their id.
    pub id: String,
    /// What they are.
    pub kind: UserKind,
    /// Their name.
    pub name: String,
    /// Of a channel's members: they left it, and the next message has a new key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKind {
    /// A program.
    Agent,
    /// A person.
    Human,
}

impl UserKind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
        }
    }
}

/// Who a source is at its relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id there.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// That of its key.
    pub fingerprint: String,
    /// The relay.
    pub relay: String,
    /// The source.
    pub source: SourceId,
    /// Whether it speaks by itself, and is not the owner.
    #[serde(default)]
    pub peer: bool,
    /// How many of its messages were kept and refused later.
    pub unsent: Option<u64>,
    /// How many of its messages wait for the relay.
    pub waiting: Option<u64>,
}

/// A source that does not answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Away {
    /// The source.
    pub source: SourceId,
    /// Why.
    pub why: String,
    /// Whether it speaks by itself, and is not the owner.
    #[serde(default)]
    pub peer: bool,
}

/// Who can be in a channel of a source, a page of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListUsers {
    /// The source.
    pub source: SourceId,
    /// Those behind this user.
    pub after: Option<String>,
}

/// Who is in a channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListMembers {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
}

/// Users with their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// Each of them.
    pub members: Vec<Member>,
    /// Who asks to be added to the channel.
    pub asking: Vec<User>,
    /// Whether there are further ones behind the last.
    pub more: bool,
    /// How the channel's keys came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// The source.
    pub source: SourceId,
}

/// A user with the keys of their devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    #[serde(flatten)]
    pub user: User,
    /// Whether it is the owner.
    pub you: bool,
    /// Their devices.
    pub devices: Vec<Device>,
    /// Whether it is a source that speaks by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer: bool,
}

/// A device, as the relay shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// That of its key.
    pub fingerprint: String,
    /// Whether that key is used.
    pub state: DeviceState,
}

/// Whether the key of a device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// It is.
    Pinned,
    /// Not yet.
    New,
    /// It is not the one that was pinned.
    Changed,
}

/// How the keys of a channel came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// How far they can be relied on.
    pub state: KeyState,
    /// The version with which the source came in: the key to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<SignedKey>,
    /// Where they are stopped: the other key of that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SignedKey>,
    /// The newest last.
    pub versions: Vec<KeyVersion>,
}

/// Who signed a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedKey {
    /// Which one.
    pub version: u64,
    /// The user's id.
    pub by: String,
    /// Their name.
    pub name: String,
    /// That of their key; none where no member has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The beginning of the hash of what was signed.
    pub state: String,
}

/// A version, with who came and who went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// Who signed it.
    #[serde(flatten)]
    pub signed: SignedKey,
    /// Those who came.
    pub added: Vec<KeyUser>,
    /// Those who went.
    pub removed: Vec<KeyUser>,
}

/// A user whom a version names; several may have one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyUser {
    /// The id.
    pub id: String,
    /// As the relay names them; the id where it does not.
    pub name: String,
}

/// Messages of a channel: the newest, or those on one side of another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Read {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// Those behind this message.
    pub after: Option<String>,
    /// Those before this one.
    pub before: Option<String>,
    /// How many at most.
    #[serde(default, deserialize_with = "wire::number::optional")]
    pub limit: Option<u32>,
}

/// A page of messages, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// The channel.
    pub channel: String,
    /// Each of them.
    pub messages: Vec<Message>,
    /// Whether there are further ones.
    pub more: bool,
    /// The source.
    pub source: SourceId,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id: those that came later have greater ones.
    pub id: String,
    /// When the relay took it, in the relay's words.
    pub at: String,
    /// Who sent it.
    pub sender: Sender,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why there is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// Their id.
    pub id: String,
    /// Their name, by the relay's word.
    pub name: String,
    /// Whether it is the owner.
    pub you: bool,
    /// That of the pinned key that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether it is a source that speaks by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer: bool,
}

/// The messages of a source that were kept while its relay was away. The relay is not asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListUnsent {
    /// The source.
    pub source: SourceId,
}

/// Messages that were kept: those that wait, and those that were refused later, the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsent {
    /// Each of them.
    pub unsent: Vec<UnsentMessage>,
    /// How many more there are, once these are forgotten.
    pub more: u64,
    /// Those that the relay has not judged yet, in their order.
    #[serde(default)]
    pub waiting: Vec<WaitingMessage>,
    /// How many more of them there are, once these have left.
    #[serde(default)]
    pub more_waiting: u64,
    /// The source.
    pub source: SourceId,
}

/// A message that is sent once the relay answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingMessage {
    /// Its id.
    pub id: String,
    /// The channel that it is for.
    pub channel: String,
    /// That one's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was kept.
    pub at: String,
    /// What it says; none where a client of before kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A message that was kept and refused later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnsentMessage {
    /// Its id.
    pub id: String,
    /// The channel that it was for.
    pub channel: String,
    /// That one's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was kept.
    pub at: String,
    /// What it says; none where its key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it was refused.
    pub why: String,
    /// Whether the relay may have it all the same.
    pub may_be_there: bool,
}

/// Makes a channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// The source.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// Who is in it beside the owner, by id.
    #[serde(default)]
    pub members: Vec<String>,
}

/// Sends a message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Say {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// What it says.
    pub text: String,
}

/// Adds a user, who can then read all that was written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// Their id.
    pub user: String,
}

/// Removes a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// Their id.
    pub user: String,
}

/// Archives a channel for all its members, or opens it again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Archive {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// Which of both.
    pub archived: bool,
}

/// Gives a channel another name.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rename {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
    /// That name.
    pub name: String,
}

/// Leaves a channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Leave {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
}

/// Makes a new key for a channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rotate {
    /// The source.
    pub source: SourceId,
    /// The channel.
    pub channel: String,
}

/// Lists a message no more that was kept and refused later.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forget {
    /// The source.
    pub source: SourceId,
    /// The message.
    pub message: String,
}

/// What an act came to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActResult {
    /// It is done.
    pub ok: Done,
    /// The source.
    pub source: SourceId,
    /// The event of its intent.
    pub audit_id: plexus_protocol::AuditId,
    /// One line without content.
    pub summary: Option<String>,
    /// What the source says of it.
    pub output: ActOutput,
}

/// What a source says of an act.
#[derive(Debug, Serialize, Deserialize)]
pub struct ActOutput {
    /// It is done.
    pub ok: Done,
    /// The channel that it is about.
    pub channel: String,
    /// The message that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the relay took it, in the relay's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Of a channel that was made: another one of the same name, as its plan showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub another: Option<String>,
}
