//! What members do with a channel.
//!
//! Invariant: members and keys are judged against the directory as it is at that moment.

use super::acts::ChannelLookup;
use super::history::Cursor;
use super::{Relay, lock};
use crate::cell::{decode, number_of};
use crate::channel::{self, ActingDevice, Channel, Posted};
use crate::pushes::view;
use crate::refusal::Refusal;
use crate::store::{Rows, StoreError, Subject};
use plexus_channels::wire::{
    self, AddMember, Code, CreateChannel, HeldKey, Keys, Member, Post, Rotate, Status,
};
use plexus_channels::{Id, limits};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Key states of one answer, and about how many bytes of them.
const STATES: usize = 100;
const STATE_BYTES: usize = 512 << 10;

/// A derived row: key and value, or none.
type Row = (Vec<u8>, Option<Vec<u8>>);

impl Relay {
    pub(crate) async fn list(
        &self,
        by: ActingDevice,
        status: Option<Status>,
    ) -> Result<Vec<wire::Channel>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let mut channels = Vec::new();
        for id in self.channels_of(by.user).await? {
            let look = |fold: &Channel| {
                let listed = fold.is_member(by) && status.is_none_or(|s| s == fold.status());
                Ok(listed.then(|| view(fold, id, &directory)).flatten())
            };
            channels.extend(self.look(id, look).await?);
        }
        Ok(channels)
    }

    pub(crate) async fn channel(&self, by: ActingDevice, id: Id) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| {
            fold.admit(by)?;
            view(fold, id, &directory).ok_or_else(Refusal::not_found)
        };
        self.look(id, look).await
    }

    pub(crate) async fn create(
        &self,
        by: ActingDevice,
        mut create: CreateChannel,
    ) -> Result<(bool, Value), Refusal> {
        let id = create.channel_id;
        create.members = channel::first_members(create.members, by.user)?;
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.new_channel_cell(id).await?;
        // What is stored already is answered before anything else is judged.
        if !cell.exists() {
            for user in &create.members {
                if self.channels_of(*user).await?.len() >= limits::CHANNELS {
                    return Err(Refusal::invalid("a member is in 10,000 channels"));
                }
            }
        }
        let devices = |user: Id| directory.peek(|fold| fold.usable_devices(user));
        let opening = create.message.clone().map(|post| Posted::new(by, post));
        let decide = |fold: &Channel| {
            let act = fold.create(by, create.clone(), devices)?;
            let rows = match &act {
                Some(channel::Act::Created { members, .. }) => {
                    let rows = members.iter().map(|user| membership(*user, id, true));
                    rows.collect()
                }
                _ => Rows::new(),
            };
            Ok(act.map(|act| (act, rows)))
        };
        let answer = |fold: &Channel, act: Id| {
            let name = directory.peek(|users| users.name_of(by.user));
            let message = opening.clone().map(|posted| posted.wire(id, act, name));
            (view(fold, id, &directory), message)
        };
        let made = self
            .act(ChannelLookup::Any, by.organization, id, decide, answer)
            .await;
        // What an id that was refused left in memory goes.
        if made.is_err() && !cell.exists() {
            lock(&self.channels).remove(&id);
        }
        let (new, (channel, mut message)) = made?;
        if !new {
            // The opening message is in the channel's first act.
            let page = self
                .page(id, Cursor::After(Id::ZERO), 1, &directory)
                .await?;
            let mut first = page.messages.into_iter();
            message = first
                .next()
                .filter(|message| number_of(message.message_id) == 1);
        }
        let channel = channel.ok_or_else(Refusal::unavailable)?;
        Ok((new, json!({"channel": channel, "message": message})))
    }

    pub(crate) async fn post(
        &self,
        by: ActingDevice,
        id: Id,
        post: Post,
    ) -> Result<(bool, String), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let sender_name = directory.peek(|fold| fold.name_of(by.user));
        let posted = Posted::new(by, post);
        let repeats = Mutex::new(None);
        let decide = |fold: &Channel| {
            let before = fold.post(by, &posted)?;
            *lock(&repeats) = before;
            let new = before.is_none();
            Ok(new.then(|| (channel::Act::Posted(posted.clone()), Rows::new())))
        };
        let answer = |_: &Channel, act: Id| {
            let message_id = lock(&repeats).unwrap_or(act);
            let message = posted.clone().wire(id, message_id, sender_name.clone());
            serde_json::to_string(&message).unwrap_or_default()
        };
        let acted = self.act(ChannelLookup::Existing, by.organization, id, decide, answer);
        let (new, message) = acted.await?;
        Ok((new, format!(r#"{{"message":{message}}}"#)))
    }

    pub(crate) async fn rename(
        &self,
        by: ActingDevice,
        id: Id,
        name: wire::Name,
    ) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.rename(by, name.clone());
        Ok(self.change(by, id, decide, None).await?.1)
    }

    pub(crate) async fn archive(
        &self,
        by: ActingDevice,
        id: Id,
        archived: bool,
    ) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.archive(by, archived);
        Ok(self.change(by, id, decide, None).await?.1)
    }

    pub(crate) async fn rotate(
        &self,
        by: ActingDevice,
        id: Id,
        rotate: Rotate,
    ) -> Result<(bool, wire::Channel), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let devices = |user: Id| directory.peek(|fold| fold.usable_devices(user));
        let decide = |fold: &Channel| fold.rotate(by, id, rotate.clone(), devices);
        self.change(by, id, decide, None).await
    }

    pub(crate) async fn add(
        &self,
        by: ActingDevice,
        id: Id,
        add: AddMember,
    ) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let user_id = add.user_id;
        if self.channels_of(user_id).await?.len() >= limits::CHANNELS {
            return Err(Refusal::invalid("the user is in 10,000 channels"));
        }
        let devices = |user: Id| directory.peek(|fold| fold.usable_devices(user));
        let decide = |fold: &Channel| fold.add(by, id, add.clone(), devices);
        let row = membership(user_id, id, true);
        Ok(self.change(by, id, decide, Some(row)).await?.1)
    }

    pub(crate) async fn remove(
        &self,
        by: ActingDevice,
        id: Id,
        user: Id,
    ) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.remove(by, user);
        let row = membership(user, id, false);
        Ok(self.change(by, id, decide, Some(row)).await?.1)
    }

    /// An act that is answered with the channel.
    pub(super) async fn change(
        &self,
        by: ActingDevice,
        id: Id,
        decide: impl Fn(&Channel) -> Result<Option<channel::Act>, Refusal>,
        row: Option<Row>,
    ) -> Result<(bool, wire::Channel), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let decide =
            |fold: &Channel| Ok(decide(fold)?.map(|act| (act, row.iter().cloned().collect())));
        let answer = |fold: &Channel, _| view(fold, id, &directory);
        let acted = self.act(ChannelLookup::Existing, by.organization, id, decide, answer);
        let (new, channel) = acted.await?;
        Ok((new, channel.ok_or_else(Refusal::not_found)?))
    }

    /// A request to join. Whether there is such a channel shows in no answer.
    pub(crate) async fn ask_to_join(&self, by: ActingDevice, id: Id) -> Result<(), Refusal> {
        let decide = |fold: &Channel| Ok(fold.ask_to_join(by).map(|act| (act, Rows::new())));
        let asked = self.act(
            ChannelLookup::Existing,
            by.organization,
            id,
            decide,
            |_, _| (),
        );
        match asked.await {
            Err(refusal) if refusal.code() == Code::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    pub(crate) async fn join_requests(
        &self,
        by: ActingDevice,
        id: Id,
    ) -> Result<Vec<Member>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| Ok(fold.admit(by)?.joining().to_vec());
        let asking = self.look(id, look).await?;
        let member = |user: &Id| {
            directory.peek(|fold| fold.has(*user).then(|| fold.member(*user)).flatten())
        };
        Ok(asking.iter().filter_map(member).collect())
    }

    /// The keys that were wrapped for the asking device, and key states behind a version.
    pub(crate) async fn keys(
        &self,
        by: ActingDevice,
        id: Id,
        after_version: u32,
    ) -> Result<Keys, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| {
            let fold = fold.admit(by)?;
            let (states, has_more) = fold.state_acts(after_version, STATES);
            Ok((fold.key_acts(by.device, after_version), states, has_more))
        };
        let (wraps, states, has_more) = self.look(id, look).await?;
        let (wraps, states, has_more) = self
            .blocking(move |store| {
                // An act has the wraps of every device: one is held at a time.
                let read = |number: u64| {
                    let act = store.acts(Subject::Channel(id), (number, number), 1, false)?;
                    let act = act.first().and_then(|(_, bytes)| decode(bytes));
                    Ok(act.and_then(|(_, act): (_, channel::Act)| act.keys()))
                };
                let (mut own, mut signed) = (Vec::new(), Vec::new());
                for number in wraps {
                    let Some((sender_id, wraps, _)) = read(number)? else {
                        continue;
                    };
                    let mine = wraps.into_iter().filter(|wrap| wrap.device_id == by.device);
                    own.extend(mine.map(|wrap| (sender_id, wrap)));
                }
                let (mut bytes, count) = (0, states.len());
                for number in states {
                    if bytes > STATE_BYTES {
                        break;
                    }
                    let state = read(number)?.and_then(|(_, _, state)| state);
                    let state = state
                        .ok_or_else(|| StoreError(format!("{id}: {number} has no key state")))?;
                    bytes += 600 + state.added.len() * 200 + state.earlier.len() * 130;
                    signed.push(state);
                }
                let has_more = has_more || signed.len() < count;
                Ok((own, signed, has_more))
            })
            .await?;
        let mut keys = Vec::new();
        for (sender_id, wrap) in wraps {
            let device = wrap.sender_device_id;
            let key = directory.peek(|fold| fold.device_key(sender_id, device));
            let Some(key) = key else { continue };
            keys.push(HeldKey {
                wrap,
                sender_id,
                sender_public_key: key.to_wire(),
            });
        }
        Ok(Keys {
            keys,
            states,
            has_more,
        })
    }

    pub(super) async fn channels_of(&self, user: Id) -> Result<Vec<Id>, Refusal> {
        let prefix = [b"m".as_slice(), &user.to_bytes()].concat();
        let length = prefix.len();
        let keys = self
            .blocking(move |store| store.row_keys(&prefix, limits::CHANNELS))
            .await?;
        let id = |key: Vec<u8>| Some(Id::from_bytes(key.get(length..)?.try_into().ok()?));
        Ok(keys.into_iter().filter_map(id).collect())
    }
}

/// The row that says, or no longer says, that a user is in a channel.
pub(super) fn membership(user: Id, channel: Id, there: bool) -> Row {
    let key = [b"m".as_slice(), &user.to_bytes(), &channel.to_bytes()].concat();
    (key, there.then(Vec::new))
}
