//! The end of a user and their device: an act of the organization, then one of each of their channels.
//!
//! ```text
//! durable ▸ challenges, sessions and connections end, at every relay ▸ each channel: a member less, a rotation due
//! ```
//! Invariant: once the first act is durable no login succeeds. What fails behind it is done by the same removal, made again.

use super::Relay;
use super::acts::ChannelLookup;
use super::channels::membership;
use crate::channel::Channel;
use crate::organization::Organization;
use crate::refusal::Refusal;
use crate::store::Rows;
use plexus_channels::wire::{Code, Member};
use plexus_channels::{Id, id};
use serde::Serialize;

/// What a removal did.
#[derive(Serialize)]
pub(crate) struct Removed {
    pub(crate) user: Member,
    pub(crate) organization: String,
    /// The channels that have a member less by it.
    pub(crate) channels: u32,
}

impl Relay {
    /// Removes a user. A removal that was cut short goes on.
    pub(crate) async fn remove_user(&self, user: Id) -> Result<Removed, Refusal> {
        let id = self.organization_of(user).await?;
        let id = id.ok_or_else(|| Refusal::new(Code::NotFound, "no user has this id"))?;
        let decide = |fold: &Organization| Ok(fold.remove(user).map(|act| (act, Rows::new())));
        let answer = |fold: &Organization| (fold.member(user), fold.wire(id).name);
        let (_, (member, organization)) = self.act_of(id, id::now_millis(), decide, answer).await?;
        self.shut_out(user);
        let mut channels = 0;
        for channel in self.channels_of(user).await? {
            let decide = |fold: &Channel| {
                let row = membership(user, channel, false);
                Ok(fold.shut_out(user).map(|act| (act, vec![row])))
            };
            let acted = self.act(ChannelLookup::Existing, id, channel, decide, |_, _| ());
            channels += u32::from(acted.await?.0);
        }
        Ok(Removed {
            user: member.ok_or_else(Refusal::unavailable)?,
            organization,
            channels,
        })
    }

    /// Ends what a removed user has at this relay. The removal is durable.
    pub(super) fn shut_out(&self, user: Id) {
        // A connection that opens meanwhile finds its session gone.
        self.sessions.shut_out(user);
        self.hub.shut_out(user);
    }
}
