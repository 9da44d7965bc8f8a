//! Channels between people and agents, encrypted end to end: ids, wire types, cryptography, and the client of a relay.
//!
//! ```text
//! id, base64url ◀── wire ◀── api ◀── account        pure: id, base64url, wire, limits, crypto, backoff
//!                 ◀── crypto ◀───────┘ │            on disk: identity, state
//!                     identity, state ◀┘            network: dial, api, events
//! ```
//! `docs/channels/protocol.md` is the protocol. It is a design of this project; nothing is known about how it relates to another
//! program's formats.
//!
//! Invariants: the types and the cryptography do no input or output, but for random bytes and the clock of a new id; no
//! secret can be printed; a sequence number is on disk before a message uses it; a message that is sent again has the same
//! bytes; no key is wrapped for a device whose public key has changed.
//!
//! Must not know: how a relay stores anything, what an agent does with a message.

pub mod account;
pub mod api;
pub mod backoff;
pub mod base64url;
pub mod chain;
pub mod crypto;
pub mod dial;
pub mod events;
pub mod id;
pub mod identity;
pub mod limits;
#[cfg(test)]
mod oracles;
pub mod state;
pub mod wire;

pub use account::{Account, AccountError, Opened, Trouble};
pub use api::{Api, ApiError};
pub use base64url::Base64Url;
pub use crypto::{ChannelKey, CryptoError, DeviceKey, MessageContext, PublicKey};
pub use dial::{Dial, Direct, Endpoint};
pub use id::Id;
