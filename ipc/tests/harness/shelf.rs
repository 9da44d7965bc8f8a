//! A source in memory whose handlers wait, forget and fail when they are told to.

use plexus_ipc::worker::{
    CallContext, Content, Handlers, Health, NoInput, OpenError, Plan, Preview, Reply, Role,
    Secrets, Source, SourceError, Touched, Verdict,
};
use plexus_protocol::{AuditId, Digest, Verb};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::Semaphore;

/// What the source is about, shared with the test.
pub(crate) struct World {
    items: Mutex<BTreeMap<String, String>>,
    /// One permit for each handler that has come to its waiting place.
    pub(crate) entered: Semaphore,
    /// One permit for each that may go on.
    pub(crate) go_on: Semaphore,
    /// One permit for each that was dropped while it waited.
    pub(crate) dropped: Semaphore,
}

static WORLDS: Mutex<BTreeMap<u64, Arc<World>>> = Mutex::new(BTreeMap::new());

impl World {
    /// A world that the source finds by the number in its configuration.
    pub(crate) fn make(items: &[(&str, &str)]) -> (u64, Arc<Self>) {
        let items = items.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let world = Arc::new(Self {
            items: Mutex::new(items.collect()),
            entered: Semaphore::new(0),
            go_on: Semaphore::new(0),
            dropped: Semaphore::new(0),
        });
        let mut worlds = WORLDS.lock().unwrap();
        let number = worlds.len() as u64;
        worlds.insert(number, Arc::clone(&world));
        (number, world)
    }
    pub(crate) fn items(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.items.lock().unwrap()
    }
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.items().get(path).cloned()
    }
    fn content(&self, path: &str) -> Content {
        self.get(path).map_or(Content::Absent, |text| {
            Content::Is(Digest::of(text.as_bytes()))
        })
    }
}

/// Takes one permit away for good.
pub(crate) async fn one_of(permits: &Semaphore) {
    permits.acquire().await.unwrap().forget();
}

struct Dropped(Arc<World>);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.add_permits(1);
    }
}

pub(crate) struct Shelf(Arc<World>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    world: u64,
    #[serde(default)]
    open: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    path: String,
    #[serde(default)]
    text: String,
}

type Replied = Result<Reply<Value>, SourceError>;
type Planned = Result<Plan<Item>, SourceError>;

impl Source for Shelf {
    type Config = Config;

    async fn open(config: Config, secrets: Secrets, role: Role) -> Result<Self, OpenError> {
        let world = Arc::clone(&WORLDS.lock().unwrap()[&config.world]);
        match config.open.as_str() {
            "fails" => return Err(OpenError::unavailable("the shelf is gone")),
            "panics" => panic!("while opening"),
            "waits" => {
                world.entered.add_permits(1);
                one_of(&world.go_on).await;
            }
            "needs a secret" => {
                let key = secrets
                    .get("key")
                    .ok_or_else(|| OpenError::config("no key"))?;
                assert_eq!(key.expose(), "hunter2");
                assert_eq!(role, Role::Reader);
            }
            _ => {}
        }
        Ok(Self(world))
    }

    async fn health(&self) -> Health {
        if self.0.items().is_empty() {
            Health::Unavailable("the shelf is empty".into())
        } else {
            Health::Well
        }
    }

    /// Counts what is there; an empty shelf is never counted to the end.
    async fn check(&self) -> Health {
        let items = self.0.items().len();
        match items {
            0 => std::future::pending().await,
            _ => Health::Degraded(format!("{items} item, counted").into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("item.read", Self::read)
            .read("item.find", Self::find)
            .read("item.leak", Self::leak)
            .read("item.wait", Self::wait)
            .read("item.panic", Self::panic)
            .read("item.huge", Self::huge)
            .effect("item.write", Self::plan_write, Self::commit_write)
            .effect("item.slow", Self::plan_write, Self::commit_slowly)
            .effect("item.break", Self::plan_write, Self::commit_and_panic)
            .effect("item.lost", Self::plan_nowhere, Self::commit_write)
            .effect("item.stray", Self::plan_anywhere, Self::commit_write)
    }

    async fn settle(&self, _intent: AuditId) -> Verdict {
        Verdict::Happened
    }
}

impl Shelf {
    async fn read(self: Arc<Self>, call: CallContext, input: Item) -> Replied {
        call.require("path", &input.path)?;
        self.leak(call, input).await
    }

    /// Forgets the constraint.
    async fn leak(self: Arc<Self>, call: CallContext, input: Item) -> Replied {
        call.progress("looking").await;
        let text = self.0.get(&input.path).ok_or_else(|| {
            SourceError::transport("not_found", "no such item").detail(json!({"at": 1}))
        })?;
        let digest = Digest::of(text.as_bytes());
        Ok(
            Reply::new(json!({ "text": text }), format!("read {}", input.path))
                .touched([Touched::read("item", &input.path, Some(digest))]),
        )
    }

    async fn find(
        self: Arc<Self>,
        call: CallContext,
        input: NoInput,
    ) -> Result<Reply<Vec<String>>, SourceError> {
        let NoInput {} = input;
        let mut found: Vec<_> = self.0.items().keys().cloned().collect();
        found.retain(|path| call.allows("path", path));
        let touched = found.iter().map(|path| Touched::read("item", path, None));
        let touched: Vec<_> = touched.collect();
        Ok(Reply::new(found, "looked around").touched(touched))
    }

    async fn wait(self: Arc<Self>, _: CallContext, _: NoInput) -> Replied {
        let waiting = Dropped(Arc::clone(&self.0));
        self.0.entered.add_permits(1);
        one_of(&self.0.go_on).await;
        std::mem::forget(waiting);
        Ok(Reply::new(json!("waited"), "waited"))
    }

    async fn panic(self: Arc<Self>, _: CallContext, _: NoInput) -> Replied {
        panic!("in a read")
    }

    async fn huge(
        self: Arc<Self>,
        _: CallContext,
        input: Item,
    ) -> Result<Reply<String>, SourceError> {
        Ok(Reply::new("x".repeat(input.text.len() * 1024), "much"))
    }

    async fn plan_write(self: Arc<Self>, call: CallContext, input: Item) -> Planned {
        call.require("path", &input.path)?;
        self.plan_anywhere(call, input).await
    }

    /// Forgets the constraint.
    async fn plan_anywhere(self: Arc<Self>, _: CallContext, input: Item) -> Planned {
        let before = self.0.content(&input.path);
        let token = Digest::of(format!("{} {before}", input.path).as_bytes());
        let digest = match before {
            Content::Is(digest) => Some(digest),
            Content::Absent => None,
        };
        let preview =
            Preview::new(format!("write {}", input.path)).diff(&format!("+{}\n", input.text));
        let rating = match input.path.as_str() {
            ".envrc" => Verb::Execute,
            _ => Verb::Read,
        };
        let touched = [Touched::write("item", &input.path, digest)];
        let summary = format!("write {}", input.path);
        Ok(Plan::new(input, token, preview, summary)
            .touched(touched)
            .before(before)
            .rating(rating))
    }

    /// Does not say what it touches.
    async fn plan_nowhere(self: Arc<Self>, call: CallContext, input: Item) -> Planned {
        let mut plan = self.plan_write(call, input).await?;
        plan.touched.clear();
        Ok(plan)
    }

    async fn commit_write(self: Arc<Self>, call: CallContext, plan: Item) -> Replied {
        assert_eq!(call.role(), Role::Writer, "a reader never commits");
        self.0.items().insert(plan.path.clone(), plan.text.clone());
        let digest = Digest::of(plan.text.as_bytes());
        Ok(Reply::new(
            json!({"bytes": plan.text.len()}),
            format!("wrote {}", plan.path),
        )
        .touched([Touched::write("item", &plan.path, Some(digest))])
        .undo("u1"))
    }

    async fn commit_slowly(self: Arc<Self>, call: CallContext, plan: Item) -> Replied {
        self.0.entered.add_permits(1);
        one_of(&self.0.go_on).await;
        self.commit_write(call, plan).await
    }

    async fn commit_and_panic(self: Arc<Self>, call: CallContext, plan: Item) -> Replied {
        self.commit_write(call, plan).await?;
        panic!("in a commit")
    }
}

/// The manifest of [`Shelf`].
pub(crate) fn manifest() -> String {
    let entry = |name: &str, verb: &str| {
        let sensitivity = match verb {
            "read" => "low",
            "execute" => "high",
            _ => "elevated",
        };
        json!({"name": name, "kind": "capability", "label": name, "describe": name, "verbs": [verb],
               "sensitivity": sensitivity, "input": {"type": "object"},
               "constrainable": [{"field": "path", "touched": "item"}]})
    };
    json!({
        "connector": "shelf", "kind": "shelf", "label": "Shelf", "blurb": "In memory",
        "provenance": "first-party", "transport": "ipc", "roles": ["reader", "writer"],
        "limits": {"frameBytes": 65536, "openFiles": 64, "fileBytes": 0, "callMs": 1000, "memoryMiB": 64},
        "capabilities": [
            entry("item.read", "read"), entry("item.find", "read"), entry("item.leak", "read"),
            entry("item.wait", "read"), entry("item.panic", "read"), entry("item.huge", "read"),
            entry("item.write", "write"), entry("item.slow", "write"), entry("item.break", "write"),
            entry("item.lost", "write"), entry("item.stray", "write"),
        ],
    })
    .to_string()
}
