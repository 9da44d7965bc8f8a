//! [`Relay`]: what a relay does, apart from HTTP: cells, sessions, connections, and the acts that join them.
//!
//! Invariants: what a caller may not see is `not_found`, whatever the reason; a push carries what the answer carries; no
//! text, name of a channel or key is ever here in the clear.

use crate::cell::{Cell, Fold, Rows, Settled, decode, id_of, number_of};
use crate::channel::{self, By, Channel, Posted};
use crate::hub::Hub;
use crate::organization::{self, Organization, invitation_hash, invited_to, moment};
use crate::rates::Rates;
use crate::refusal::Refusal;
use crate::sessions::Sessions;
use crate::store::{Store, StoreError, Subject};
use plexus_channels::wire::{
    self, AddMember, CreateChannel, Event, HeldKey, Kind, Member, Message, Page, Post, Registered,
    Rotate, Status,
};
use plexus_channels::{Id, PublicKey, id, limits};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Channels that stay in memory although nobody uses them.
const IDLE_CHANNELS: usize = 20_000;
/// Acts that a page of history reads at once.
const CHUNK: usize = 256;

/// What a relay works with.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Requests a second of one device.
    pub device_rate: u32,
    /// Requests a second of one address that come without a token.
    pub address_rate: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            device_rate: 50,
            address_rate: 10,
        }
    }
}

/// A relay.
pub struct Relay {
    pub(crate) store: Arc<dyn Store>,
    organizations: Mutex<HashMap<Id, Arc<Cell<Organization>>>>,
    channels: Mutex<HashMap<Id, Arc<Cell<Channel>>>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: Sessions,
    pub(crate) devices: Rates<Id>,
    pub(crate) addresses: Rates<IpAddr>,
}

/// Where a page of history begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cursor {
    Newest,
    After(Id),
    Before(Id),
}

/// What runs once an act is durable.
type Push = Box<dyn FnOnce() + Send>;

impl Relay {
    /// A relay on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, terms: Terms) -> Self {
        Self {
            store,
            organizations: Mutex::default(),
            channels: Mutex::default(),
            hub: Arc::default(),
            sessions: Sessions::default(),
            devices: Rates::new(terms.device_rate),
            addresses: Rates::new(terms.address_rate),
        }
    }

    /// Closes every connection, and waits for their clients: the process is about to end.
    pub async fn stop(&self) {
        self.hub.stop();
        self.hub.left().await;
    }

    /// A new invitation to the organization of that name, which is made where there is none. What it returns is a secret.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn invite(
        &self,
        organization: &str,
        kind: Kind,
        uses: u32,
        valid: Duration,
    ) -> Result<String, Refusal> {
        let row = [b"n", organization.as_bytes()].concat();
        let found = self.row(row.clone()).await?;
        let found = found.and_then(|id| Some(Id::from_bytes(id.try_into().ok()?)));
        let id = found.unwrap_or_else(Id::generate);
        let cell = self.organization_cell(id).await?;
        let now = id::now_millis();
        if found.is_none() {
            let name = organization.to_owned();
            let act = organization::Act::Founded { name };
            let rows = vec![(row, Some(id.to_bytes().to_vec()))];
            let decide = |_: &Organization, _| Ok(Some((act, rows)));
            cell.act(&*self.store, now, decide, nothing).await?;
        }
        let key = organization::invitation_key(id);
        let valid = u64::try_from(valid.as_millis()).unwrap_or(u64::MAX);
        let act = organization::Act::Invited {
            hash: invitation_hash(&key),
            kind,
            uses,
            expires: now.saturating_add(valid),
        };
        let decide = |_: &Organization, _| Ok(Some((act, Rows::new())));
        cell.act(&*self.store, now, decide, nothing).await?;
        Ok(key)
    }

    pub(crate) async fn register(
        &self,
        register: wire::Register,
    ) -> Result<(bool, Registered), Refusal> {
        let Some(id) = invited_to(&register.invitation_key) else {
            return Err(Organization::no_invitation());
        };
        let cell = self.organization_cell(id).await?;
        let (now, user, device) = (id::now_millis(), Id::generate(), Id::generate());
        let registration = register.registration_id;
        let decide = |fold: &Organization, _| {
            let act = fold.register(&register, now, (user, device))?;
            let row = [b"u".as_slice(), &user.to_bytes()].concat();
            let rows = vec![(row, Some(id.to_bytes().to_vec()))];
            Ok(act.map(|act| (act, rows)))
        };
        let answer = |fold: &Organization, _| (fold.answer(id, registration), no_push());
        let (new, answer) = cell.act(&*self.store, now, decide, answer).await?;
        Ok((new, answer.ok_or_else(Refusal::unavailable)?))
    }

    /// The organization and the key of a user's device.
    pub(crate) async fn device(&self, user: Id, device: Id) -> Option<(Id, PublicKey)> {
        let row = [b"u".as_slice(), &user.to_bytes()].concat();
        let organization = self.row(row).await.ok()??;
        let organization = Id::from_bytes(organization.try_into().ok()?);
        let cell = self.organization_cell(organization).await.ok()?;
        let look = |fold: &Organization| Ok(fold.device_key(user, device));
        Some((organization, cell.read(look).await.ok()??))
    }

    pub(crate) async fn me(&self, by: By) -> Result<Value, Refusal> {
        let cell = self.organization_cell(by.organization).await?;
        cell.read(|fold| {
            let profile = fold.profile(by.user).ok_or_else(Refusal::unauthorized)?;
            let mut me = json!(profile);
            me["device_id"] = json!(by.device);
            me["organization"] = json!(fold.wire(by.organization));
            Ok(me)
        })
        .await
    }

    pub(crate) async fn users(&self, by: By, kind: Kind) -> Result<Vec<wire::Profile>, Refusal> {
        let cell = self.organization_cell(by.organization).await?;
        cell.read(|fold| Ok(fold.profiles(kind))).await
    }

    pub(crate) async fn user(&self, by: By, kind: Kind, id: Id) -> Result<wire::Profile, Refusal> {
        let cell = self.organization_cell(by.organization).await?;
        let look = |fold: &Organization| fold.profile(id).filter(|profile| profile.kind == kind);
        cell.read(|fold| look(fold).ok_or_else(Refusal::not_found))
            .await
    }

    pub(crate) async fn list(
        &self,
        by: By,
        status: Option<Status>,
    ) -> Result<Vec<wire::Channel>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let mut channels = Vec::new();
        for id in self.channels_of(by.user).await? {
            let cell = self.channel_cell(id).await?;
            let look = |fold: &Channel| {
                let listed = fold.is_member(by) && status.is_none_or(|s| s == fold.status());
                Ok(listed.then(|| view(fold, id, &directory)).flatten())
            };
            channels.extend(cell.read(look).await?);
        }
        Ok(channels)
    }

    pub(crate) async fn channel(&self, by: By, id: Id) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.channel_cell(id).await?;
        cell.read(|fold| {
            fold.admit(by)?;
            view(fold, id, &directory).ok_or_else(Refusal::not_found)
        })
        .await
    }

    pub(crate) async fn create(
        &self,
        by: By,
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
        let devices = |user: Id| directory.peek(|fold| fold.has(user).then(|| fold.devices(user)));
        let opening = create.message.clone().map(|post| Posted::new(by, post));
        let decide = |fold: &Channel, _: Id| {
            let act = fold.create(by, create, devices)?;
            let rows = match &act {
                Some(channel::Act::Created { members, .. }) => {
                    let rows = members.iter().map(|user| membership(*user, id, true));
                    rows.collect()
                }
                _ => Rows::new(),
            };
            Ok(act.map(|act| (act, rows)))
        };
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let channel = view(fold, id, &directory);
            let members = Arc::clone(fold.members());
            let name = directory.peek(|users| users.name_of(by.user));
            let message = opening.map(|posted| posted.wire(id, act, name));
            let (added, pushed) = (channel.clone(), message.clone());
            let push = move || {
                let by = by.user;
                let others: Vec<Id> = members.iter().copied().filter(|m| *m != by).collect();
                if let Some(channel) = added {
                    let event = Event::ChannelAdded { channel, by };
                    hub.push(&others, || frame(&event, act));
                }
                if let Some(message) = pushed {
                    let channel_id = id;
                    let event = Event::MessageCreated {
                        channel_id,
                        message,
                    };
                    hub.push(&members, || frame(&event, act));
                }
            };
            ((channel, message), Box::new(push) as Push)
        };
        let made = self.act(&cell, decide, answer).await;
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

    /// Takes a message; its JSON is written once, for the answer and for the pushes.
    pub(crate) async fn post(&self, by: By, id: Id, post: Post) -> Result<(bool, String), Refusal> {
        let cell = self.channel_cell(id).await?;
        let directory = self.organization_cell(by.organization).await?;
        let sender_name = directory.peek(|fold| fold.name_of(by.user));
        let posted = Posted::new(by, post);
        let stored = posted.clone();
        let repeats = OnceLock::new();
        let decide = |fold: &Channel, _: Id| {
            let before = fold.post(by, &stored)?;
            let new = before.is_none();
            before.map(|id| repeats.set(id));
            Ok(new.then(|| (channel::Act::Posted(stored), Rows::new())))
        };
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let message_id = repeats.get().copied().unwrap_or(act);
            let message = posted.wire(id, message_id, sender_name);
            let message: Arc<str> = serde_json::to_string(&message).unwrap_or_default().into();
            let (members, pushed) = (Arc::clone(fold.members()), Arc::clone(&message));
            let push = move || {
                let at = moment(act.millis());
                hub.push(&members, || {
                    format!(
                        r#"{{"type":"message.created","event_id":"{act}","at":"{at}","channel_id":"{id}","message":{pushed}}}"#
                    )
                });
            };
            (message, Box::new(push) as Push)
        };
        let (new, message) = self.act(&cell, decide, answer).await?;
        Ok((new, format!(r#"{{"message":{message}}}"#)))
    }

    pub(crate) async fn rename(
        &self,
        by: By,
        id: Id,
        name: wire::Name,
    ) -> Result<wire::Channel, Refusal> {
        let event = Event::ChannelRenamed {
            channel_id: id,
            name: name.clone(),
            by: by.user,
        };
        let decide = |fold: &Channel, _| Ok(fold.rename(by, name)?.map(|act| (act, Rows::new())));
        Ok(self.change(by, id, decide, |_, _| event).await?.1)
    }

    pub(crate) async fn archive(
        &self,
        user: By,
        id: Id,
        archived: bool,
    ) -> Result<wire::Channel, Refusal> {
        let (channel_id, by) = (id, user.user);
        let event = if archived {
            Event::ChannelArchived { channel_id, by }
        } else {
            Event::ChannelUnarchived { channel_id, by }
        };
        let decide =
            |fold: &Channel, _| Ok(fold.archive(user, archived)?.map(|act| (act, Rows::new())));
        Ok(self.change(user, id, decide, |_, _| event).await?.1)
    }

    pub(crate) async fn rotate(
        &self,
        by: By,
        id: Id,
        rotate: Rotate,
    ) -> Result<(bool, wire::Channel), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let devices = |user: Id| directory.peek(|fold| fold.has(user).then(|| fold.devices(user)));
        let Rotate { key_version, keys } = rotate;
        let decide = |fold: &Channel, _| {
            let act = fold.rotate(by, key_version, keys, devices)?;
            Ok(act.map(|act| (act, Rows::new())))
        };
        let event = Event::KeyRotated {
            channel_id: id,
            key_version,
            by: by.user,
        };
        self.change(by, id, decide, |_, _| event).await
    }

    pub(crate) async fn add(
        &self,
        by: By,
        id: Id,
        add: AddMember,
    ) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let AddMember { user_id, keys } = add;
        if self.channels_of(user_id).await?.len() >= limits::CHANNELS {
            return Err(Refusal::invalid("the user is in 10,000 channels"));
        }
        let devices = directory.peek(|fold| fold.has(user_id).then(|| fold.devices(user_id)));
        let user = directory.peek(|fold| fold.member(user_id));
        let decide = |fold: &Channel, _| {
            let act = fold.add(by, user_id, devices, keys)?;
            Ok(act.map(|act| (act, vec![membership(user_id, id, true)])))
        };
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let channel = view(fold, id, &directory);
            let (added, members) = (channel.clone(), Arc::clone(fold.members()));
            let push = move || {
                let by = by.user;
                if let (Some(channel), Some(user)) = (added, user) {
                    let event = Event::ChannelAdded { channel, by };
                    hub.push(&[user_id], || frame(&event, act));
                    let others: Vec<Id> =
                        members.iter().copied().filter(|m| *m != user_id).collect();
                    let channel_id = id;
                    let event = Event::MemberAdded {
                        channel_id,
                        user,
                        by,
                    };
                    hub.push(&others, || frame(&event, act));
                }
            };
            (channel, Box::new(push) as Push)
        };
        let cell = self.channel_cell(id).await?;
        let (_, channel) = self.act(&cell, decide, answer).await?;
        channel.ok_or_else(Refusal::not_found)
    }

    pub(crate) async fn remove(&self, by: By, id: Id, user: Id) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let removed = directory.peek(|fold| fold.member(user));
        let decide = |fold: &Channel, _| {
            let act = fold.remove(by, user)?;
            Ok(act.map(|act| (act, vec![membership(user, id, false)])))
        };
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let channel = view(fold, id, &directory);
            let members = Arc::clone(fold.members());
            let push = move || {
                let (channel_id, by) = (id, by.user);
                let event = Event::ChannelRemoved { channel_id, by };
                hub.push(&[user], || frame(&event, act));
                if let Some(user) = removed {
                    let event = Event::MemberRemoved {
                        channel_id,
                        user,
                        by,
                        rotation_due: true,
                    };
                    hub.push(&members, || frame(&event, act));
                }
            };
            (channel, Box::new(push) as Push)
        };
        let cell = self.channel_cell(id).await?;
        let (_, channel) = self.act(&cell, decide, answer).await?;
        channel.ok_or_else(Refusal::not_found)
    }

    /// An act that all members hear of in one event.
    async fn change(
        &self,
        by: By,
        id: Id,
        decide: impl FnOnce(&Channel, Id) -> Result<Option<(channel::Act, Rows)>, Refusal>,
        event: impl FnOnce(&Channel, Id) -> Event,
    ) -> Result<(bool, wire::Channel), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.channel_cell(id).await?;
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let channel = view(fold, id, &directory);
            let (members, event) = (Arc::clone(fold.members()), event(fold, act));
            let push = move || hub.push(&members, || frame(&event, act));
            (channel, Box::new(push) as Push)
        };
        let (new, channel) = self.act(&cell, decide, answer).await?;
        Ok((new, channel.ok_or_else(Refusal::not_found)?))
    }

    /// A request to join. Whether there is such a channel shows in no answer.
    pub(crate) async fn ask_to_join(&self, by: By, id: Id) -> Result<(), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let Ok(cell) = self.channel_cell(id).await else {
            return Ok(());
        };
        let user = directory.peek(|fold| fold.member(by.user));
        let decide = |fold: &Channel, _| Ok(fold.ask_to_join(by).map(|act| (act, Rows::new())));
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let members = Arc::clone(fold.members());
            let push = move || {
                if let Some(user) = user {
                    let channel_id = id;
                    let event = Event::JoinRequested { channel_id, user };
                    hub.push(&members, || frame(&event, act));
                }
            };
            ((), Box::new(push) as Push)
        };
        self.act(&cell, decide, answer).await.map(|_| ())
    }

    pub(crate) async fn join_requests(&self, by: By, id: Id) -> Result<Vec<Member>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.channel_cell(id).await?;
        let asking = cell
            .read(|fold| Ok(fold.admit(by)?.joining().to_vec()))
            .await?;
        let member = |user: &Id| directory.peek(|fold| fold.member(*user));
        Ok(asking.iter().filter_map(member).collect())
    }

    /// The keys that were wrapped for the asking device.
    pub(crate) async fn keys(&self, by: By, id: Id) -> Result<Vec<HeldKey>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.channel_cell(id).await?;
        let look = |fold: &Channel| Ok(fold.admit(by)?.key_acts(by.device));
        let numbers = cell.read(look).await?;
        let wraps = self
            .blocking(move |store| {
                // An act has the wraps of every device: one is held at a time.
                let mut own = Vec::new();
                for number in numbers {
                    let act = store.acts(Subject::Channel(id), (number, number), 1, false)?;
                    let act = act.first().and_then(|(_, bytes)| decode(bytes));
                    let Some((sender_id, wraps)) =
                        act.and_then(|(_, act): (_, channel::Act)| act.wraps())
                    else {
                        continue;
                    };
                    let mine = wraps.into_iter().filter(|wrap| wrap.device_id == by.device);
                    own.extend(mine.map(|wrap| (sender_id, wrap)));
                }
                Ok(own)
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
        Ok(keys)
    }

    pub(crate) async fn history(
        &self,
        by: By,
        id: Id,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Page, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let cell = self.channel_cell(id).await?;
        cell.read(|fold| fold.admit(by).map(|_| ())).await?;
        self.page(id, cursor, limit, &directory).await
    }

    async fn page(
        &self,
        id: Id,
        cursor: Cursor,
        limit: usize,
        directory: &Arc<Cell<Organization>>,
    ) -> Result<Page, Refusal> {
        let (mut found, backwards) = self
            .blocking(move |store| read_page(store, Subject::Channel(id), cursor, limit + 1))
            .await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        if backwards {
            found.reverse();
        }
        let named = |(message_id, posted): (Id, Posted)| -> Message {
            let name = directory.peek(|fold| fold.name_of(posted.by()));
            posted.wire(id, message_id, name)
        };
        let messages = found.into_iter().map(named).collect();
        Ok(Page { messages, has_more })
    }

    async fn act<T>(
        &self,
        cell: &Arc<Cell<Channel>>,
        decide: impl FnOnce(&Channel, Id) -> Result<Option<(channel::Act, Rows)>, Refusal>,
        answer: impl FnOnce(&Channel, Id) -> (T, Push),
    ) -> Result<(bool, T), Refusal> {
        let hub = Arc::clone(&self.hub);
        let answer = |fold: &Channel, act: Id| {
            let (answer, push) = answer(fold, act);
            let members = Arc::clone(fold.members());
            let settled = move |taken| {
                if taken {
                    push();
                } else {
                    // Perhaps it is there all the same: the members read the history.
                    hub.interrupt(&members);
                }
            };
            (answer, Box::new(settled) as Settled)
        };
        cell.act(&*self.store, id::now_millis(), decide, answer)
            .await
    }

    async fn channels_of(&self, user: Id) -> Result<Vec<Id>, Refusal> {
        let prefix = [b"m".as_slice(), &user.to_bytes()].concat();
        let length = prefix.len();
        let keys = self
            .blocking(move |store| store.row_keys(&prefix, limits::CHANNELS))
            .await?;
        let id = |key: Vec<u8>| Some(Id::from_bytes(key.get(length..)?.try_into().ok()?));
        Ok(keys.into_iter().filter_map(id).collect())
    }

    pub(crate) async fn organization_cell(
        &self,
        id: Id,
    ) -> Result<Arc<Cell<Organization>>, Refusal> {
        self.cell(&self.organizations, Subject::Organization(id), id)
            .await
    }

    async fn new_channel_cell(&self, id: Id) -> Result<Arc<Cell<Channel>>, Refusal> {
        self.cell(&self.channels, Subject::Channel(id), id).await
    }

    /// The cell of a channel that there is.
    async fn channel_cell(&self, id: Id) -> Result<Arc<Cell<Channel>>, Refusal> {
        let cell = self.new_channel_cell(id).await?;
        if cell.exists() {
            return Ok(cell);
        }
        // A request that makes it holds the cell too.
        let mut channels = lock(&self.channels);
        if Arc::strong_count(&cell) == 2 {
            channels.remove(&id);
        }
        Err(Refusal::not_found())
    }

    async fn cell<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        subject: Subject,
        id: Id,
    ) -> Result<Arc<Cell<F>>, Refusal> {
        let held = lock(cells)
            .get(&id)
            .filter(|cell| !cell.is_broken())
            .cloned();
        if let Some(cell) = held {
            return Ok(cell);
        }
        let loaded = self
            .blocking(move |store| Cell::load(store, subject))
            .await?;
        let mut cells = lock(cells);
        if cells.len() >= IDLE_CHANNELS {
            cells.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        if cells.get(&id).is_some_and(|cell| cell.is_broken()) {
            // What was loaded may be older than acts on their way: the store refuses its next act then, and it breaks too.
            cells.remove(&id);
        }
        let cell = cells.entry(id).or_insert_with(|| Arc::new(loaded));
        Ok(Arc::clone(cell))
    }

    async fn row(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
        self.blocking(move |store| store.row(&key)).await
    }

    /// Reads from the store on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || read(&*store)).await;
        match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => {
                tracing::error!(name: "store.read_failed", %why, "the store could not be read");
                Err(Refusal::unavailable())
            }
            Err(_) => Err(Refusal::unavailable()),
        }
    }
}

/// Messages beside the cursor, at most so many, nearest first, and whether they run backwards.
fn read_page(
    store: &dyn Store,
    subject: Subject,
    cursor: Cursor,
    most: usize,
) -> Result<(Vec<(Id, Posted)>, bool), StoreError> {
    let backwards = !matches!(cursor, Cursor::After(_));
    let (mut first, mut last) = match cursor {
        Cursor::Newest => (1, u64::MAX),
        Cursor::After(id) => (acts_up_to(store, subject, id)? + 1, u64::MAX),
        Cursor::Before(id) => {
            let up_to = acts_up_to(store, subject, id)?;
            let itself = act_id(store, subject, up_to)? == Some(id);
            (1, up_to - u64::from(itself))
        }
    };
    let mut found = Vec::new();
    while found.len() < most && first <= last {
        let chunk = store.acts(subject, (first, last), CHUNK.min(most + 16), backwards)?;
        let Some((end, _)) = chunk.last() else { break };
        if backwards {
            last = end - 1;
        } else {
            first = end + 1;
        }
        let messages = chunk.iter().filter_map(|(_, bytes)| {
            let (id, act) = decode::<channel::Act>(bytes)?;
            Some((id, act.message()?))
        });
        found.extend(messages);
    }
    found.truncate(most);
    Ok((found, backwards))
}

/// How many acts have an id up to this one. Ids carry their number; for one that no act has, a search.
fn acts_up_to(store: &dyn Store, subject: Subject, id: Id) -> Result<u64, StoreError> {
    let number = number_of(id);
    if act_id(store, subject, number)? == Some(id) {
        return Ok(number);
    }
    let newest = store.acts(subject, (1, u64::MAX), 1, true)?;
    let (mut low, mut high) = (0, newest.first().map_or(0, |(number, _)| *number));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match act_id(store, subject, middle)? {
            Some(found) if found <= id => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(low)
}

fn act_id(store: &dyn Store, subject: Subject, number: u64) -> Result<Option<Id>, StoreError> {
    let act = store.acts(subject, (number, number), 1, false)?;
    Ok(act.first().and_then(|(_, bytes)| id_of(bytes)))
}

/// A channel as its members see it.
fn view(fold: &Channel, id: Id, directory: &Arc<Cell<Organization>>) -> Option<wire::Channel> {
    let (created_by, at, name) = fold.made()?;
    let members = directory.peek(|users| {
        let members = fold.members().iter();
        members.filter_map(|user| users.member(*user)).collect()
    });
    Some(wire::Channel {
        id,
        status: fold.status(),
        name: name.clone(),
        created_by,
        created_at: moment(at.millis()),
        key_version: fold.key_version(),
        rotation_due: fold.rotation_due(),
        members,
        last_message_id: fold.last_message(),
    })
}

/// The row that says, or no longer says, that a user is in a channel.
fn membership(user: Id, channel: Id, there: bool) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = [b"m".as_slice(), &user.to_bytes(), &channel.to_bytes()].concat();
    (key, there.then(Vec::new))
}

/// A frame: the event, the id of its act, and when that was.
pub(crate) fn frame(event: &Event, act: Id) -> String {
    let mut frame = json!(event);
    frame["event_id"] = json!(act);
    frame["at"] = json!(moment(act.millis()));
    frame.to_string()
}

fn nothing(_: &Organization, _: Id) -> ((), Settled) {
    ((), no_push())
}

fn no_push() -> Settled {
    Box::new(|_| {})
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
