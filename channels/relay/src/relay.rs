//! [`Relay`]: what a relay does, apart from HTTP: cells, sessions, connections, and the acts that join them.
//!
//! ```text
//! here      the relay, organizations and their users        acts     an act, decided again where another came first
//! channels  what members do with a channel                  cells    subjects in memory, and acts of other relays
//! history   pages of messages                               removal  the end of a user
//! ```
//! Invariants: what a caller may not see is `not_found`, whatever the reason; a push carries what the answer carries; no
//! text, name of a channel or key is ever here in the clear.

mod acts;
mod cells;
mod channels;
mod history;
mod removal;

use crate::cell::Cell;
use crate::channel::{ActingDevice, Channel};
use crate::hub::Hub;
use crate::in_flight::InFlight;
use crate::organization::{self, Organization, invitation_hash, invited_to};
use crate::proxies::Proxies;
use crate::rates::Rates;
use crate::refusal::Refusal;
use crate::sessions::Sessions;
use crate::store::{Rows, Store, StoreError};
use plexus_channels::wire::{self, Kind, Registered};
use plexus_channels::{Id, PublicKey, id};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

pub(crate) use history::Cursor;

/// What a relay works with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Requests a second of one device.
    pub device_rate: u32,
    /// Registrations and proofs a second of one address that are refused.
    pub address_rate: u32,
    /// Who is believed to say where a request comes from.
    pub proxies: Proxies,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            device_rate: 50,
            address_rate: 50,
            proxies: Proxies::default(),
        }
    }
}

/// A relay.
pub struct Relay {
    pub(crate) store: Arc<dyn Store>,
    organizations: Mutex<HashMap<Id, Arc<Cell<Organization>>>>,
    channels: Mutex<HashMap<Id, Arc<Cell<Channel>>>>,
    /// Whose turn it is to load a cell, by the end of its id.
    loading: [tokio::sync::Mutex<()>; 64],
    pub(crate) hub: Arc<Hub>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) sessions: Sessions,
    pub(crate) devices: Rates<Id>,
    pub(crate) addresses: Rates<IpAddr>,
    pub(crate) proxies: Proxies,
}

impl Relay {
    /// A relay on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, terms: Terms) -> Arc<Self> {
        let in_flight = Arc::<InFlight>::default();
        let relay = Arc::new(Self {
            store,
            organizations: Mutex::default(),
            channels: Mutex::default(),
            loading: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hub: Arc::new(Hub::new(Arc::clone(&in_flight))),
            in_flight,
            sessions: Sessions::new(Instant::now()),
            devices: Rates::new(terms.device_rate),
            addresses: Rates::new(terms.address_rate),
            proxies: terms.proxies,
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

    /// A new invitation to the organization of that name, a secret; and whether the organization was made for it, since there
    /// was none.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn invite(
        &self,
        organization: &str,
        kind: Kind,
        uses: u32,
        valid: Duration,
    ) -> Result<(String, bool), Refusal> {
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
        Ok((key, found.is_none()))
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

    /// The organization and the key of the device of a user who may log in.
    pub(crate) async fn device(
        &self,
        user: Id,
        device: Id,
    ) -> Result<Option<(Id, PublicKey)>, Refusal> {
        let Some(organization) = self.organization_of(user).await? else {
            return Ok(None);
        };
        let look = |fold: &Organization| {
            let key = fold.has(user).then(|| fold.device_key(user, device));
            Ok(key.flatten())
        };
        let key = self.look_at(organization, look).await?;
        Ok(key.map(|key| (organization, key)))
    }

    /// The organization in which a user registered.
    async fn organization_of(&self, user: Id) -> Result<Option<Id>, Refusal> {
        let key = [b"u".as_slice(), &user.to_bytes()].concat();
        let row = match self.row(key.clone()).await? {
            Some(row) => Some(row),
            // A user who registered with another relay a moment ago is not turned away.
            None if self.catch_up().await? => self.row(key).await?,
            None => None,
        };
        Ok(row.and_then(|row| Some(Id::from_bytes(row.try_into().ok()?))))
    }

    pub(crate) async fn me(&self, by: ActingDevice) -> Result<Value, Refusal> {
        self.look_at(by.organization, |fold| {
            let profile = fold.profile(by.user).ok_or_else(Refusal::unauthorized)?;
            let mut me = json!(profile);
            me["device_id"] = json!(by.device);
            me["organization"] = json!(fold.wire(by.organization));
            Ok(me)
        })
        .await
    }

    pub(crate) async fn users(
        &self,
        by: ActingDevice,
        kind: Kind,
    ) -> Result<Vec<wire::Profile>, Refusal> {
        let look = |fold: &Organization| Ok(fold.profiles(kind));
        self.look_at(by.organization, look).await
    }

    pub(crate) async fn users_after(
        &self,
        by: ActingDevice,
        after: Id,
    ) -> Result<wire::UserPage, Refusal> {
        let look = |fold: &Organization| Ok(fold.page_after(after));
        self.look_at(by.organization, look).await
    }

    pub(crate) async fn user(
        &self,
        by: ActingDevice,
        kind: Kind,
        id: Id,
    ) -> Result<wire::Profile, Refusal> {
        let look = |fold: &Organization| fold.profile(id).filter(|profile| profile.kind == kind);
        let look = |fold: &Organization| look(fold).ok_or_else(Refusal::not_found);
        self.look_at(by.organization, look).await
    }

    /// Reads what others have appended; whether there are others.
    async fn catch_up(&self) -> Result<bool, Refusal> {
        let caught_up = self.store.catch_up().await;
        caught_up.map_err(|why| {
            tracing::warn!(name: "store.not_current", %why, "the newest acts could not be read");
            Refusal::no_store()
        })
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
        #[expect(clippy::disallowed_methods, reason = "it costs the request that asked")]
        let read = tokio::task::spawn_blocking(move || read(&*store)).await;
        match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(read_failed(&why)),
            Err(_) => Err(Refusal::unavailable()),
        }
    }
}

fn read_failed(why: &StoreError) -> Refusal {
    tracing::error!(name: "store.read_failed", %why, "the store could not be read");
    Refusal::unavailable()
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
