//! One act or look: on the newest acts, and again where another relay's act came first.

use super::Relay;
use crate::cell::Settled;
use crate::channel::{self, Channel};
use crate::organization::{self, Organization};
use crate::pushes::Pushes;
use crate::refusal::Refusal;
use crate::store::{Outcome, Rows};
use plexus_channels::{Id, id};
use std::sync::Arc;

/// How often something is decided again because another relay's act came first.
const ATTEMPTS: u32 = 64;

/// Which channel an act may be of.
#[derive(Clone, Copy)]
pub(super) enum ChannelLookup {
    Existing,
    /// Also one that the act makes.
    Any,
}

/// The attempts at one answer.
struct Attempts<'a> {
    relay: &'a Relay,
    left: u32,
    caught_up: bool,
}

impl Attempts<'_> {
    /// Whether to try again after this refusal: it was decided on acts that are not the last any more, or perhaps are not.
    pub(super) async fn again(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        if refusal.is_overtaken() && self.left > 0 {
            self.left -= 1;
            return Ok(());
        }
        if self.caught_up || !refusal.rests_on_acts() {
            return Err(refusal);
        }
        self.caught_up = true;
        if self.relay.catch_up().await? {
            Ok(())
        } else {
            Err(refusal)
        }
    }
}

impl Relay {
    /// An act of a channel of this organization, decided again where another relay's came first.
    pub(super) async fn act<T>(
        &self,
        wanted: ChannelLookup,
        organization: Id,
        id: Id,
        decide: impl Fn(&Channel) -> Result<Option<(channel::Act, Rows)>, Refusal>,
        answer: impl Fn(&Channel, Id) -> T,
    ) -> Result<(bool, T), Refusal> {
        let directory = self.organization_cell(organization).await?;
        let mut attempts = self.attempts();
        loop {
            let cell = match wanted {
                ChannelLookup::Any => self.new_channel_cell(id).await,
                ChannelLookup::Existing => self.channel_cell(id).await,
            };
            let acted = match cell {
                Ok(cell) => {
                    let answer = |fold: &Channel, at: Id, act: Option<&channel::Act>| {
                        let pushes = act.map(|act| Pushes::of(id, fold, (at, act), &directory));
                        (answer(fold, at), self.settled(fold, pushes))
                    };
                    let decide = |fold: &Channel, _| decide(fold);
                    let now = id::now_millis();
                    cell.act(&*self.store, now, decide, answer).await
                }
                Err(refusal) => Err(refusal),
            };
            match acted {
                Err(refusal) => attempts.again(refusal).await?,
                acted => return acted,
            }
        }
    }

    fn settled(&self, fold: &Channel, pushes: Option<Pushes>) -> Settled {
        let (hub, members) = (Arc::clone(&self.hub), Arc::clone(fold.members()));
        Box::new(move |outcome| match outcome {
            Outcome::Durable => {
                if let Some(pushes) = pushes {
                    pushes.send(&hub);
                }
            }
            Outcome::Behind => {}
            // Perhaps it is there all the same: the members read the history.
            Outcome::Unknown => hub.interrupt(&members),
        })
    }

    /// An act of an organization.
    pub(super) async fn act_of<T>(
        &self,
        id: Id,
        now: u64,
        decide: impl Fn(&Organization) -> Result<Option<(organization::Act, Rows)>, Refusal>,
        answer: impl Fn(&Organization) -> T,
    ) -> Result<(bool, T), Refusal> {
        let mut attempts = self.attempts();
        loop {
            let cell = self.organization_cell(id).await?;
            let decide = |fold: &Organization, _| decide(fold);
            let answer = |fold: &Organization, _, _: Option<&organization::Act>| {
                (answer(fold), Box::new(|_| {}) as Settled)
            };
            match cell.act(&*self.store, now, decide, answer).await {
                Err(refusal) => attempts.again(refusal).await?,
                acted => return acted,
            }
        }
    }

    /// Looks at a channel.
    pub(super) async fn look<T>(
        &self,
        id: Id,
        look: impl Fn(&Channel) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut attempts = self.attempts();
        loop {
            let found = match self.channel_cell(id).await {
                Ok(cell) => cell.read(&look).await,
                Err(refusal) => Err(refusal),
            };
            match found {
                Err(refusal) => attempts.again(refusal).await?,
                found => return found,
            }
        }
    }

    /// Looks at an organization.
    pub(super) async fn look_at<T>(
        &self,
        id: Id,
        look: impl Fn(&Organization) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut attempts = self.attempts();
        loop {
            let cell = self.organization_cell(id).await?;
            match cell.read(&look).await {
                Err(refusal) => attempts.again(refusal).await?,
                found => return found,
            }
        }
    }

    const fn attempts(&self) -> Attempts<'_> {
        Attempts {
            relay: self,
            left: ATTEMPTS,
            caught_up: false,
        }
    }
}
