//! What travels between a client and a relay, as JSON. Names of fields are `snake_case`; unknown fields are ignored.
//!
//! Another dialect of this protocol would be another module beside this one.

use crate::{Base64Url, Id};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The version that `GET /health` shows.
pub const PROTOCOL: u32 = 1;
/// The algorithm of a [`Wrap`] of a version without a key state.
pub const WRAP_ALGORITHM: &str = "ecdh-p256+hkdf-sha256+aes-256-gcm/1";
/// The algorithm of a [`Wrap`] that is bound to the key state of its version.
pub const SIGNED_WRAP_ALGORITHM: &str = "ecdh-p256+hkdf-sha256+aes-256-gcm/2";
/// The only suite of a [`KeyState`]: P-256 (ECDH, ECDSA), SHA-256 (HKDF, HMAC), AES-256-GCM.
pub const SUITE: u32 = 1;

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A program, with exactly one device.
    Agent,
    /// A person.
    Human,
}

/// A device's public half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub device_id: Id,
    /// 65 bytes, an uncompressed point of P-256.
    pub public_key: Base64Url,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What the directory says of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The user's id.
    pub id: Id,
    /// Agent or human.
    pub kind: Kind,
    /// A relay gives one to who has none.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// Both, as shown; without a last name the first alone.
    pub name: String,
    /// What the user is good at, in words of their own.
    pub skills: Vec<String>,
    /// When the user registered.
    pub created_at: Timestamp,
    /// Their devices.
    pub devices: Vec<Device>,
}

/// An organization, as its users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
}

/// The answer to `GET /me`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// What the directory says.
    #[serde(flatten)]
    pub profile: Profile,
    /// The asking device.
    pub device_id: Id,
    /// Whose user it is.
    pub organization: Organization,
}

/// A user in a list of members or of join requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The user's id.
    pub id: Id,
    /// Agent or human.
    pub kind: Kind,
    /// As shown.
    pub name: String,
}

/// A channel's name, encrypted with the channel's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The key's version.
    pub key_version: u32,
    /// Whose device encrypted it.
    pub sender_device_id: Id,
    /// 12 bytes.
    pub nonce: Base64Url,
    /// With its tag.
    pub ciphertext: Base64Url,
}

/// Whether a channel takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does.
    Active,
    /// It is read only.
    Archived,
}

/// A channel, as a member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id, made by its creator.
    pub id: Id,
    /// Active or archived.
    pub status: Status,
    /// Encrypted.
    pub name: Name,
    /// The user who made it.
    pub created_by: Id,
    /// When.
    pub created_at: Timestamp,
    /// The newest version of its key, from 1.
    pub key_version: u32,
    /// Whether a member must make a new version before the next message.
    pub rotation_due: bool,
    /// Who is in it.
    pub members: Vec<Member>,
    /// At a client: those of the members whom the relay names no more. They have the newest key; the next message has another.
    #[serde(skip)]
    pub left: BTreeSet<Id>,
    /// The newest message.
    pub last_message_id: Option<Id>,
}

/// A message, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Given by the relay, strictly rising in its channel.
    pub message_id: Id,
    /// Its channel.
    pub channel_id: Id,
    /// The user who sent it.
    pub sender_id: Id,
    /// The relay's word for that user.
    pub sender_name: String,
    /// The device that encrypted it.
    pub sender_device_id: Id,
    /// Given by the sender.
    pub client_message_id: Id,
    /// The version of the channel's key.
    pub key_version: u32,
    /// The sending device's counter in this channel, from 1.
    pub seq: u64,
    /// 12 bytes.
    pub nonce: Base64Url,
    /// With its tag.
    pub ciphertext: Base64Url,
    /// When the relay took it.
    pub created_at: Timestamp,
}

/// A channel key, encrypted for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// For this device.
    pub device_id: Id,
    /// The key's version.
    pub key_version: u32,
    /// [`WRAP_ALGORITHM`].
    pub alg: String,
    /// By this device.
    pub sender_device_id: Id,
    /// 32 random bytes.
    pub salt: Base64Url,
    /// 48 bytes.
    pub ciphertext: Base64Url,
}

/// What a member signs of a new key version. `docs/channels/protocol.md` has the bytes that are signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// [`SUITE`].
    pub suite: u32,
    /// The version that it makes.
    pub key_version: u32,
    /// The hash of the state before it: 32 bytes, or none in the first state of a channel.
    pub previous: Base64Url,
    /// Devices that get the key, and did not have the one before.
    pub added: Vec<StateDevice>,
    /// Devices that had the one before, and do not get this one.
    pub removed: Vec<Id>,
    /// Of the key: 32 bytes.
    pub commitment: Base64Url,
    /// Keys of earlier versions, under this one.
    pub earlier: Vec<SealedKey>,
    /// The member who signs.
    pub user_id: Id,
    /// With this device.
    pub device_id: Id,
    /// 64 bytes.
    pub signature: Base64Url,
}

/// A device in a [`KeyState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDevice {
    /// Whose.
    pub user_id: Id,
    /// Which.
    pub device_id: Id,
    /// 65 bytes.
    pub public_key: Base64Url,
}

/// The key of a version, encrypted with that of a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// The version.
    pub key_version: u32,
    /// 12 bytes.
    pub nonce: Base64Url,
    /// 48 bytes.
    pub ciphertext: Base64Url,
}

/// `GET /channels/{id}/keys`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    /// Wraps for the asking device.
    pub keys: Vec<HeldKey>,
    /// Key states behind the version that was asked for, in order.
    #[serde(default)]
    pub states: Vec<KeyState>,
    /// Whether there are further states.
    #[serde(default)]
    pub has_more: bool,
}

/// A [`Wrap`] with what its recipient needs to open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    /// The wrap.
    #[serde(flatten)]
    pub wrap: Wrap,
    /// Whose device wrapped it.
    pub sender_id: Id,
    /// That device's key, as the relay has it.
    pub sender_public_key: Base64Url,
}

/// `POST /register`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Made by the client; the same again has the same answer.
    pub registration_id: Id,
    /// What an operator gave out. A secret.
    pub invitation_key: String,
    /// At most 80 characters; the relay gives one where it is missing.
    #[serde(default)]
    pub first_name: Option<String>,
    /// At most 80 characters.
    #[serde(default)]
    pub last_name: Option<String>,
    /// At most 20 of 40 characters.
    #[serde(default)]
    pub skills: Vec<String>,
    /// The device that is registered with the user.
    pub device: NewDevice,
}

/// A device that is registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewDevice {
    /// 65 bytes.
    pub public_key: Base64Url,
}

/// The answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The user's id.
    pub public_id: Id,
    /// The same.
    pub agent_id: Id,
    /// The device's.
    pub device_id: Id,
    /// As the invitation has it.
    pub kind: Kind,
    /// As registered, or given by the relay.
    pub first_name: String,
    /// As registered.
    pub last_name: String,
    /// As registered.
    pub skills: Vec<String>,
    /// Whose invitation it was.
    pub organization: Organization,
}

/// `POST /auth/challenge`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AskChallenge {
    /// Who wants to log in.
    pub agent_id: Id,
    /// With which device.
    pub device_id: Id,
}

/// The answer to [`AskChallenge`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Its id.
    pub challenge_id: Id,
    /// 65 bytes, the relay's for logins.
    pub server_public_key: Base64Url,
    /// 32 random bytes.
    pub nonce: Base64Url,
    /// Seconds.
    pub expires_in: u64,
}

/// `POST /auth/token`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskToken {
    /// Which challenge.
    pub challenge_id: Id,
    /// 32 bytes.
    pub proof: Base64Url,
    /// The user and device that asked for it, again: a relay need not remember.
    #[serde(flatten)]
    pub by: AskChallenge,
}

/// The answer to [`AskToken`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// A secret.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
}

/// `POST /channels`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateChannel {
    /// Made by the client.
    pub channel_id: Id,
    /// Under version 1.
    pub name: Name,
    /// Ids of users; the creator need not be among them.
    pub members: Vec<Id>,
    /// For every device of the members and of the creator.
    pub keys: Vec<Wrap>,
    /// The opening message.
    #[serde(default)]
    pub message: Option<Post>,
    /// The key state of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
}

/// `POST /channels/{id}/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Made by the sender.
    pub client_message_id: Id,
    /// The version of the key.
    pub key_version: u32,
    /// Of the sending device in this channel.
    pub seq: u64,
    /// 12 bytes.
    pub nonce: Base64Url,
    /// With its tag.
    pub ciphertext: Base64Url,
}

/// `PATCH /channels/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rename {
    /// The new name.
    pub name: Name,
}

/// `POST /channels/{id}/members`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddMember {
    /// Who comes in.
    pub user_id: Id,
    /// Of the version that `state` makes, for every device of every member and of that user. Without a state: for the devices of
    /// that user, the current version among them.
    pub keys: Vec<Wrap>,
    /// The key state of the version that the new member begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
}

/// `POST /channels/{id}/keys`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rotate {
    /// One above the channel's.
    pub key_version: u32,
    /// For every device of every member.
    pub keys: Vec<Wrap>,
    /// The key state of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
}

/// A page of users, in the order of their ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserPage {
    /// The users.
    pub users: Vec<Profile>,
    /// Whether there are further ones.
    pub has_more: bool,
}

/// A page of history, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are further ones in that direction.
    pub has_more: bool,
}

/// A frame that a relay pushes. Types that are not here are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[allow(
    missing_docs,
    reason = "the protocol's own names, in docs/channels/protocol.md"
)]
pub enum Event {
    #[serde(rename = "ready")]
    Ready {
        connection_id: Id,
        agent_id: Id,
        device_id: Id,
        ping_seconds: u64,
    },
    #[serde(rename = "message.created")]
    MessageCreated { channel_id: Id, message: Message },
    #[serde(rename = "channel.added")]
    ChannelAdded { channel: Channel, by: Id },
    #[serde(rename = "channel.removed")]
    ChannelRemoved { channel_id: Id, by: Id },
    #[serde(rename = "channel.archived")]
    ChannelArchived { channel_id: Id, by: Id },
    #[serde(rename = "channel.unarchived")]
    ChannelUnarchived { channel_id: Id, by: Id },
    #[serde(rename = "channel.renamed")]
    ChannelRenamed { channel_id: Id, name: Name, by: Id },
    #[serde(rename = "channel.member_added")]
    MemberAdded {
        channel_id: Id,
        user: Member,
        by: Id,
    },
    #[serde(rename = "channel.member_removed")]
    MemberRemoved {
        channel_id: Id,
        user: Member,
        by: Id,
        rotation_due: bool,
    },
    #[serde(rename = "channel.join_requested")]
    JoinRequested { channel_id: Id, user: Member },
    #[serde(rename = "channel.key_rotated")]
    KeyRotated {
        channel_id: Id,
        key_version: u32,
        by: Id,
    },
    #[serde(other)]
    Unknown,
}

/// Why a connection for events was closed.
pub mod close {
    /// The token of the connection ended.
    pub const TOKEN_ENDED: u16 = 4001;
    /// The device or its user was removed.
    pub const REMOVED: u16 = 4003;
    /// The device has opened another connection.
    pub const REPLACED: u16 = 4009;
    /// The client reads too slowly.
    pub const TOO_SLOW: u16 = 4013;
    /// The relay failed: something may have been missed.
    pub const FAILED: u16 = 1011;
    /// The relay stops.
    pub const GOING_AWAY: u16 = 1001;
}

/// Codes of refusals; clients switch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the protocol's own names, in docs/channels/protocol.md"
)]
pub enum Code {
    InvalidRequest,
    InvalidPublicKey,
    Unauthorized,
    InvalidInvitation,
    InvalidProof,
    UnknownChallenge,
    NotFound,
    Archived,
    RotationDue,
    Exists,
    Conflict,
    StaleKeyVersion,
    SeqConflict,
    TooLarge,
    KeysMissing,
    KeysOfStrangers,
    RateLimited,
    Unavailable,
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::InvalidPublicKey => 400,
            Self::Unauthorized
            | Self::InvalidInvitation
            | Self::InvalidProof
            | Self::UnknownChallenge => 401,
            Self::NotFound => 404,
            Self::Archived
            | Self::RotationDue
            | Self::Exists
            | Self::Conflict
            | Self::StaleKeyVersion
            | Self::SeqConflict => 409,
            Self::TooLarge => 413,
            Self::KeysMissing | Self::KeysOfStrangers => 422,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
            Self::Unknown => 500,
        }
    }
}

impl fmt::Display for Code {
    /// As in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self).unwrap_or_default();
        f.write_str(name.as_str().unwrap_or_default())
    }
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What clients switch on.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Depends on the code.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// The body of a refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Why.
    pub error: Refusal,
}
