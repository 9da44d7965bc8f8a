//! [`Relay`]: what a relay does, apart from HTTP: cells, sessions, connections, and the acts that join them.
//!
//! Invariants: what a caller may not see is `not_found`, whatever the reason; a push carries what the answer carries; no
//! text, name of a channel or key is ever here in the clear.

use crate::cell::{Cell, Fold, Settled, decode, id_of, number_of};
use crate::channel::{self, By, Channel, Posted};
use crate::hub::Hub;
use crate::organization::{self, Organization, invitation_hash, invited_to};
use crate::pushes::{Pushes, view};
use crate::rates::Rates;
use crate::refusal::Refusal;
use crate::sessions::Sessions;
use crate::store::{Follow, Outcome, Rows, Snapshot, Store, StoreError, Subject};
use plexus_channels::wire::{
    self, AddMember, Code, CreateChannel, HeldKey, Kind, Member, Message, Page, Post, Registered,
    Rotate, Status,
};
use plexus_channels::{Id, PublicKey, id, limits};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Channels that stay in memory although nobody uses them.
const IDLE_CHANNELS: usize = 20_000;
/// Acts that a page of history reads at once.
const CHUNK: usize = 256;
/// How often something is decided again because another relay's act came first.
const ATTEMPTS: u32 = 64;

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

/// A derived row: key and value, or none.
type Row = (Vec<u8>, Option<Vec<u8>>);

/// Which channel an act may be of.
#[derive(Clone, Copy)]
enum Wanted {
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
    async fn again(&mut self, refusal: Refusal) -> Result<(), Refusal> {
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
    /// A relay on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, terms: Terms) -> Arc<Self> {
        let relay = Arc::new(Self {
            store,
            organizations: Mutex::default(),
            channels: Mutex::default(),
            hub: Arc::default(),
            sessions: Sessions::default(),
            devices: Rates::new(terms.device_rate),
            addresses: Rates::new(terms.address_rate),
        });
        let follower: Weak<Self> = Arc::downgrade(&relay);
        relay.store.follow(follower);
        relay
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
        let found = match self.row(row.clone()).await? {
            Some(found) => Some(found),
            None if self.catch_up().await? => self.row(row.clone()).await?,
            None => None,
        };
        let found = found.and_then(|id| Some(Id::from_bytes(id.try_into().ok()?)));
        let id = found.unwrap_or_else(Id::generate);
        let now = id::now_millis();
        if found.is_none() {
            let name = organization.to_owned();
            let act = organization::Act::Founded { name };
            let rows = vec![(row, Some(id.to_bytes().to_vec()))];
            let decide = |_: &Organization| Ok(Some((act.clone(), rows.clone())));
            self.act_of(id, now, decide, |_| ()).await?;
        }
        let key = organization::invitation_key(id);
        let valid = u64::try_from(valid.as_millis()).unwrap_or(u64::MAX);
        let act = organization::Act::Invited {
            hash: invitation_hash(&key),
            kind,
            uses,
            expires: now.saturating_add(valid),
        };
        let decide = |_: &Organization| Ok(Some((act.clone(), Rows::new())));
        self.act_of(id, now, decide, |_| ()).await?;
        Ok(key)
    }

    pub(crate) async fn register(
        &self,
        register: wire::Register,
    ) -> Result<(bool, Registered), Refusal> {
        let Some(id) = invited_to(&register.invitation_key) else {
            return Err(Organization::no_invitation());
        };
        let (now, user, device) = (id::now_millis(), Id::generate(), Id::generate());
        let decide = |fold: &Organization| {
            let act = fold.register(&register, now, (user, device))?;
            let row = [b"u".as_slice(), &user.to_bytes()].concat();
            let rows = vec![(row, Some(id.to_bytes().to_vec()))];
            Ok(act.map(|act| (act, rows)))
        };
        let answer = |fold: &Organization| fold.answer(id, register.registration_id);
        let (new, answer) = self.act_of(id, now, decide, answer).await?;
        Ok((new, answer.ok_or_else(Refusal::unavailable)?))
    }

    /// The organization and the key of a user's device.
    pub(crate) async fn device(
        &self,
        user: Id,
        device: Id,
    ) -> Result<Option<(Id, PublicKey)>, Refusal> {
        let key = [b"u".as_slice(), &user.to_bytes()].concat();
        let row = match self.row(key.clone()).await? {
            Some(row) => Some(row),
            // A user who registered with another relay a moment ago is not turned away.
            None if self.catch_up().await? => self.row(key).await?,
            None => None,
        };
        let Some(organization) = row.and_then(|row| Some(Id::from_bytes(row.try_into().ok()?)))
        else {
            return Ok(None);
        };
        let look = |fold: &Organization| Ok(fold.device_key(user, device));
        let key = self.look_at(organization, look).await?;
        Ok(key.map(|key| (organization, key)))
    }

    pub(crate) async fn me(&self, by: By) -> Result<Value, Refusal> {
        self.look_at(by.organization, |fold| {
            let profile = fold.profile(by.user).ok_or_else(Refusal::unauthorized)?;
            let mut me = json!(profile);
            me["device_id"] = json!(by.device);
            me["organization"] = json!(fold.wire(by.organization));
            Ok(me)
        })
        .await
    }

    pub(crate) async fn users(&self, by: By, kind: Kind) -> Result<Vec<wire::Profile>, Refusal> {
        let look = |fold: &Organization| Ok(fold.profiles(kind));
        self.look_at(by.organization, look).await
    }

    pub(crate) async fn user(&self, by: By, kind: Kind, id: Id) -> Result<wire::Profile, Refusal> {
        let look = |fold: &Organization| fold.profile(id).filter(|profile| profile.kind == kind);
        let look = |fold: &Organization| look(fold).ok_or_else(Refusal::not_found);
        self.look_at(by.organization, look).await
    }

    pub(crate) async fn list(
        &self,
        by: By,
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

    pub(crate) async fn channel(&self, by: By, id: Id) -> Result<wire::Channel, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| {
            fold.admit(by)?;
            view(fold, id, &directory).ok_or_else(Refusal::not_found)
        };
        self.look(id, look).await
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
        let made = self.act(Wanted::Any, by, id, decide, answer).await;
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

    pub(crate) async fn post(&self, by: By, id: Id, post: Post) -> Result<(bool, String), Refusal> {
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
        let (new, message) = self.act(Wanted::Existing, by, id, decide, answer).await?;
        Ok((new, format!(r#"{{"message":{message}}}"#)))
    }

    pub(crate) async fn rename(
        &self,
        by: By,
        id: Id,
        name: wire::Name,
    ) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.rename(by, name.clone());
        Ok(self.change(by, id, decide, None).await?.1)
    }

    pub(crate) async fn archive(
        &self,
        by: By,
        id: Id,
        archived: bool,
    ) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.archive(by, archived);
        Ok(self.change(by, id, decide, None).await?.1)
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
        let decide = |fold: &Channel| fold.rotate(by, key_version, keys.clone(), devices);
        self.change(by, id, decide, None).await
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
        let devices = || directory.peek(|fold| fold.has(user_id).then(|| fold.devices(user_id)));
        let decide = |fold: &Channel| fold.add(by, user_id, devices(), keys.clone());
        let row = membership(user_id, id, true);
        Ok(self.change(by, id, decide, Some(row)).await?.1)
    }

    pub(crate) async fn remove(&self, by: By, id: Id, user: Id) -> Result<wire::Channel, Refusal> {
        let decide = |fold: &Channel| fold.remove(by, user);
        let row = membership(user, id, false);
        Ok(self.change(by, id, decide, Some(row)).await?.1)
    }

    /// An act that is answered with the channel.
    async fn change(
        &self,
        by: By,
        id: Id,
        decide: impl Fn(&Channel) -> Result<Option<channel::Act>, Refusal>,
        row: Option<Row>,
    ) -> Result<(bool, wire::Channel), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let decide =
            |fold: &Channel| Ok(decide(fold)?.map(|act| (act, row.iter().cloned().collect())));
        let answer = |fold: &Channel, _| view(fold, id, &directory);
        let (new, channel) = self.act(Wanted::Existing, by, id, decide, answer).await?;
        Ok((new, channel.ok_or_else(Refusal::not_found)?))
    }

    /// A request to join. Whether there is such a channel shows in no answer.
    pub(crate) async fn ask_to_join(&self, by: By, id: Id) -> Result<(), Refusal> {
        let decide = |fold: &Channel| Ok(fold.ask_to_join(by).map(|act| (act, Rows::new())));
        let asked = self.act(Wanted::Existing, by, id, decide, |_, _| ()).await;
        match asked {
            Err(refusal) if refusal.code() == Code::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    pub(crate) async fn join_requests(&self, by: By, id: Id) -> Result<Vec<Member>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| Ok(fold.admit(by)?.joining().to_vec());
        let asking = self.look(id, look).await?;
        let member = |user: &Id| directory.peek(|fold| fold.member(*user));
        Ok(asking.iter().filter_map(member).collect())
    }

    /// The keys that were wrapped for the asking device.
    pub(crate) async fn keys(&self, by: By, id: Id) -> Result<Vec<HeldKey>, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let look = |fold: &Channel| Ok(fold.admit(by)?.key_acts(by.device));
        let numbers = self.look(id, look).await?;
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
        self.look(id, |fold| fold.admit(by).map(|_| ())).await?;
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

    /// An act of a channel, decided again where another relay's came first.
    async fn act<T>(
        &self,
        wanted: Wanted,
        by: By,
        id: Id,
        decide: impl Fn(&Channel) -> Result<Option<(channel::Act, Rows)>, Refusal>,
        answer: impl Fn(&Channel, Id) -> T,
    ) -> Result<(bool, T), Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        let mut attempts = self.attempts();
        loop {
            let cell = match wanted {
                Wanted::Any => self.new_channel_cell(id).await,
                Wanted::Existing => self.channel_cell(id).await,
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
    async fn act_of<T>(
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
    async fn look<T>(
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
    async fn look_at<T>(
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

    /// Reads what others have appended; whether there are others.
    async fn catch_up(&self) -> Result<bool, Refusal> {
        let caught_up = self.store.catch_up().await;
        caught_up.map_err(|why| {
            tracing::warn!(name: "store.not_current", %why, "the newest acts could not be read");
            Refusal::no_store()
        })
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
        if let Some(cell) = held(cells, id) {
            return Ok(cell);
        }
        let loaded = self
            .blocking(move |store| Cell::load(store, subject))
            .await?;
        self.keep(cells, id, loaded)
            .map_err(|why| read_failed(&why))
    }

    /// Keeps a cell that was loaded, unless there is one by now.
    fn keep<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        id: Id,
        mut loaded: Cell<F>,
    ) -> Result<Arc<Cell<F>>, StoreError> {
        let mut cells = lock(cells);
        if cells.len() >= IDLE_CHANNELS {
            cells.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        if cells.get(&id).is_some_and(|cell| cell.is_over()) {
            // What was loaded may be older than acts on their way: the store refuses its next act then, and it ends too.
            cells.remove(&id);
        }
        if let Some(cell) = cells.get(&id) {
            return Ok(Arc::clone(cell));
        }
        // Acts of others that came while it was loaded have told nobody. The next one finds it here.
        loaded.read_on(&*self.store)?;
        let cell = Arc::new(loaded);
        cells.insert(id, Arc::clone(&cell));
        Ok(cell)
    }

    /// A cell, on a thread that may wait.
    fn loaded<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        subject: Subject,
        id: Id,
    ) -> Result<Arc<Cell<F>>, StoreError> {
        match held(cells, id) {
            Some(cell) => Ok(cell),
            None => self.keep(cells, id, Cell::load(&*self.store, subject)?),
        }
    }

    fn follow_channel(
        &self,
        id: Id,
        number: u64,
        (at, act): (Id, &channel::Act),
    ) -> Result<Option<Snapshot>, StoreError> {
        // A cell that cannot go on with the act is over; what is loaded then has it.
        for _ in 0..2 {
            let cell = self.loaded(&self.channels, Subject::Channel(id), id)?;
            let organization = match act {
                channel::Act::Created { organization, .. } => Some(*organization),
                _ => cell.peek(Channel::organization),
            };
            let Some(organization) = organization else {
                continue;
            };
            let subject = Subject::Organization(organization);
            let directory = self.loaded(&self.organizations, subject, organization)?;
            let look = |fold: &Channel| Pushes::of(id, fold, (at, act), &directory);
            if let Some((pushes, snapshot)) = cell.follow((number, at), act, look) {
                pushes.send(&self.hub);
                return Ok(snapshot);
            }
        }
        Err(StoreError(format!("act {number} of {id} cannot be told")))
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
            Ok(Err(why)) => Err(read_failed(&why)),
            Err(_) => Err(Refusal::unavailable()),
        }
    }
}

impl Follow for Relay {
    fn appended(&self, subject: Subject, number: u64, act: &[u8]) -> Option<Snapshot> {
        let followed = match subject {
            Subject::Organization(id) => {
                if let (Some(cell), Some((at, act))) = (held(&self.organizations, id), decode(act))
                {
                    // One that cannot go on with it is over: the next caller loads another.
                    cell.follow((number, at), &act, |_| ());
                }
                return None;
            }
            Subject::Channel(id) => match decode(act) {
                Some((at, act)) => self.follow_channel(id, number, (at, &act)),
                None => Err(StoreError(format!("act {number} of {id} is damaged"))),
            },
        };
        followed.unwrap_or_else(|why| {
            tracing::error!(name: "store.not_followed", %why, "an act of another relay could not be pushed");
            self.hub.interrupt_all();
            None
        })
    }

    fn lost(&self) {
        self.hub.interrupt_all();
    }
}

/// The cell in memory that can be used.
fn held<F: Fold>(cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>, id: Id) -> Option<Arc<Cell<F>>> {
    lock(cells).get(&id).filter(|cell| !cell.is_over()).cloned()
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

/// The row that says, or no longer says, that a user is in a channel.
fn membership(user: Id, channel: Id, there: bool) -> Row {
    let key = [b"m".as_slice(), &user.to_bytes(), &channel.to_bytes()].concat();
    (key, there.then(Vec::new))
}

fn read_failed(why: &StoreError) -> Refusal {
    tracing::error!(name: "store.read_failed", %why, "the store could not be read");
    Refusal::unavailable()
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
