//! Limits of the protocol, which relay and client both hold.

use std::time::Duration;

/// Bytes of UTF-8 in the text of a message.
pub const TEXT_BYTES: usize = 32_768;
/// Bytes of a message's ciphertext, tag included.
pub const CIPHERTEXT_BYTES: usize = 49_152;
/// Characters in the name of a channel.
pub const CHANNEL_NAME_CHARS: usize = 120;
/// Bytes of a channel name's ciphertext: four bytes a character, and the tag.
pub const NAME_CIPHERTEXT_BYTES: usize = CHANNEL_NAME_CHARS * 4 + 16;
/// Characters in each name of a user.
pub const USER_NAME_CHARS: usize = 80;
/// Skills of a user.
pub const SKILLS: usize = 20;
/// Characters in a skill.
pub const SKILL_CHARS: usize = 40;
/// Members of a channel.
pub const MEMBERS: usize = 1_000;
/// Channels of a user.
pub const CHANNELS: usize = 10_000;
/// Bytes of a request's body.
pub const BODY_BYTES: usize = 1 << 20;
/// Bytes of a frame that a client sends.
pub const FRAME_BYTES: usize = 64 << 10;
/// Users of a page.
pub const USERS_OF_PAGE: usize = 1_000;
/// Users that a client takes from a relay.
pub const USERS: usize = 100_000;
/// Messages of a page, unless asked otherwise.
pub const PAGE: usize = 50;
/// Messages of a page at most.
pub const LARGEST_PAGE: usize = 200;
/// How long an access token is valid.
pub const TOKEN: Duration = Duration::from_secs(3_600);
/// How long a challenge may be answered.
pub const CHALLENGE: Duration = Duration::from_secs(60);
/// Messages under one version of a channel's key. Random nonces of 96 bits allow 2^32 of them.
pub const MESSAGES_PER_KEY: u64 = 1 << 30;
/// The greatest number of a message that a client takes from a relay for its own last one. Each whole number up to it is one
/// in JavaScript too.
pub const SEQ_OF_RELAY: u64 = 1 << 52;
/// Frames that wait for a reader before its connection is closed.
pub const QUEUED_FRAMES: usize = 1_000;
/// How often a relay pings.
pub const PING: Duration = Duration::from_secs(25);
/// How long either side waits for any sign of the other.
pub const SILENCE: Duration = Duration::from_secs(60);
