//! Plays a schedule: a runtime with a clock that moves when all is quiet, one source, its callers.
//!
//! Invariant: callers and acts are told apart by their tags alone; nothing here decides by what an actor is doing.

use super::{
    laws,
    script::{Act, Ask, End, Kind, Schedule},
    words::FRAME,
    world::{Fact, Good, Puppet, World},
};
use crate::{
    CallRequest, CommitTerms, DispatchError, Notice, Pace, Spec, Stands, Supervisor,
    call::{Question, Reply},
    setup::Context,
};
use bytes::Bytes;
use nix::sys::signal::Signal;
use plexus_ipc::{
    manifest::Manifest,
    message::{Role, Secrets, Stamp, Verdict},
    offer::Offer,
};
use plexus_protocol::{AuditId, Digest, SourceId, Verb};
use serde_json::{Value, json};
use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Longer than any pause of the supervisor's after which it must have tried again.
const LONG: Duration = Duration::from_secs(100);

/// What came of a schedule.
pub(super) struct History {
    pub(super) log: Vec<(Duration, Fact)>,
    pub(super) broken: Vec<String>,
}

impl History {
    /// All of it, to be read in search of the mistake.
    pub(super) fn told(&self) -> String {
        let mut text = format!("broken: {:#?}\n", self.broken);
        for (at, fact) in &self.log {
            let _ = writeln!(text, "{:>12.3} ms  {fact:?}", at.as_secs_f64() * 1_000.0);
        }
        text
    }
}

/// Plays `schedule` from its first act to the end of the last task.
pub(super) fn play(schedule: &Schedule) -> History {
    run(|| async {
        let stage = Stage::new(World::new(&schedule.readers, &schedule.writers));
        for (pause, act) in &schedule.acts {
            sleep(Duration::from_millis(*pause)).await;
            stage.act(act);
        }
        stage.serves_again().await;
        let world = stage.world.clone();
        stage.close(schedule.end).await;
        laws::judge(&world, schedule);
        world
    })
}

/// Runs `play` on a clock of its own, without a door to the system.
pub(super) fn run<F: Future<Output = World>>(play: impl FnOnce() -> F) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let world = runtime.block_on(play());
    let mut inner = world.look();
    History {
        log: std::mem::take(&mut inner.log),
        broken: std::mem::take(&mut inner.broken),
    }
}

pub(super) struct Stage {
    pub(super) supervisor: Supervisor,
    pub(super) world: World,
    pub(super) source: SourceId,
    manifest: Arc<Manifest>,
    revision: Arc<AtomicU64>,
    tags: AtomicU64,
    callers: Mutex<Vec<(u64, JoinHandle<()>)>>,
    others: Mutex<Vec<JoinHandle<()>>>,
}

/// The manifest of the simulated kind.
pub(crate) fn manifest(resident: bool) -> Value {
    json!({
        "connector": "puppet", "kind": "puppet-dir", "label": "Puppet", "blurb": "For the simulation.",
        "provenance": "managed", "transport": "ipc", "fields": [], "roles": ["reader", "writer"], "resident": resident,
        "limits": {"frameBytes": FRAME, "openFiles": 64, "fileBytes": 1024, "callMs": 30000, "memoryMiB": 64},
        "capabilities": [
            {"name": "read", "kind": "capability", "label": "Read", "describe": "Reads.", "verbs": ["read"], "input": {"type": "object"}},
            {"name": "write", "kind": "capability", "label": "Write", "describe": "Writes.", "verbs": ["write"], "sensitivity": "elevated", "input": {"type": "object"}}
        ]
    })
}

/// A source of that kind.
pub(crate) fn spec(source: SourceId, manifest: Arc<Manifest>, revision: u64) -> Arc<Spec> {
    Arc::new(Spec {
        source,
        offer: Arc::new(Offer {
            manifest,
            profile: "".into(),
            children: Vec::new(),
            given: None,
            program: "plexus-worker-puppet".into(),
        }),
        folders: Vec::new(),
        config: json!({}),
        secrets: Box::new(|| Ok(Secrets::default())),
        keep: Box::new(|_, _, _| Err(std::io::Error::other("nothing is kept here"))),
        revision,
        elsewhere: Vec::new(),
        code: Vec::new(),
        uncaged: false,
    })
}

/// The intent of a settle names its tag, as nothing else of it does.
fn intent_of(tag: u64) -> AuditId {
    AuditId::parse(&format!("evt_00000000-0000-8000-8000-{tag:012x}")).expect("an id")
}

impl Stage {
    pub(super) fn new(world: World) -> Self {
        Self::of(world, false)
    }

    /// Of a kind whose workers stay, or not.
    pub(super) fn of(world: World, resident: bool) -> Self {
        let (sender, mut notices) = mpsc::unbounded_channel();
        let context: Context<Puppet> = Context {
            launcher: "/launcher".into(),
            workers: "/workers".into(),
            state_dir: "/state".into(),
            launch: 1,
            tcp_port: 1,
            notices: sender,
            pace: Pace::default(),
            spawner: world.clone(),
        };
        let hears = world.clone();
        tokio::spawn(async move {
            while let Some(notice) = notices.recv().await {
                hears.record(match notice {
                    Notice::Started { role, pid, .. } => Fact::Serves { role, pid },
                    Notice::StartFailed { role, attempts, .. } => {
                        Fact::StartFailed { role, attempts }
                    }
                    Notice::Ended {
                        role, pid, cause, ..
                    } => Fact::Ended { role, pid, cause },
                    Notice::Health { .. }
                    | Notice::ScopeMissing { .. }
                    | Notice::Egress { .. }
                    | Notice::Event(_)
                    | Notice::EventsDropped { .. }
                    | Notice::HostCall(_) => continue,
                });
            }
        });
        let stage = Self {
            supervisor: Supervisor::on(Arc::new(context)),
            world,
            source: SourceId::parse("the-source").expect("an id"),
            manifest: Arc::new(
                Manifest::parse(&manifest(resident).to_string()).expect("a manifest"),
            ),
            revision: Arc::new(AtomicU64::new(1)),
            tags: AtomicU64::new(1),
            callers: Mutex::default(),
            others: Mutex::default(),
        };
        stage.put();
        stage
    }

    fn put(&self) {
        let revision = self.revision();
        self.world.record(Fact::Replaced { revision });
        let (source, manifest) = (self.source.clone(), Arc::clone(&self.manifest));
        self.supervisor.put(spec(source, manifest, revision));
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Does it, and waits for nothing.
    pub(super) fn act(&self, act: &Act) {
        match act {
            Act::Ask(ask) => drop(self.ask(ask)),
            Act::Burst(ask, times) => {
                for _ in 0..*times {
                    self.ask(ask);
                }
            }
            Act::HangUp(back) => {
                let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((tag, caller)) = callers.iter().rev().nth(*back)
                    && !caller.is_finished()
                {
                    self.world.record(Fact::HungUp { tag: *tag });
                    caller.abort();
                }
            }
            Act::Probe => {
                self.world.record(Fact::OwnerProbes);
                let (supervisor, source) = (self.supervisor.clone(), self.source.clone());
                self.beside(async move {
                    supervisor.probe(&source).await;
                });
            }
            Act::Replace => {
                self.revision.fetch_add(1, Ordering::Relaxed);
                self.put();
            }
            Act::PutAgain => self.put(),
            Act::Remove(back_after) => {
                self.revision.fetch_add(1, Ordering::Relaxed);
                let (supervisor, source) = (self.supervisor.clone(), self.source.clone());
                let (world, after) = (self.world.clone(), *back_after);
                let removing = tokio::spawn(async move {
                    // When it happens: something else may come before.
                    world.record(Fact::Removed);
                    supervisor.remove(&source).await;
                });
                let world = self.world.clone();
                let (supervisor, source) = (self.supervisor.clone(), self.source.clone());
                let (manifest, revision) = (Arc::clone(&self.manifest), Arc::clone(&self.revision));
                self.beside(async move {
                    sleep(Duration::from_millis(after)).await;
                    // As it is configured by then.
                    let revision = revision.load(Ordering::Relaxed);
                    world.record(Fact::Replaced { revision });
                    supervisor.put(spec(source, manifest, revision));
                    let _ = removing.await;
                });
            }
            Act::Kill(role) => self.world.strike(*role, Signal::SIGKILL),
            Act::Freeze(role) => self.world.strike(*role, Signal::SIGSTOP),
            Act::Thaw(role) => self.world.strike(*role, Signal::SIGCONT),
            Act::Nap(ms) => self.world.naps(Duration::from_millis(*ms)),
        }
    }

    fn beside(&self, what: impl Future<Output = ()> + Send + 'static) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(tokio::spawn(what));
    }

    /// Asks on a task of its own, which records what it is told.
    pub(super) fn ask(&self, ask: &Ask) -> u64 {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let revision = self.revision() - u64::from(ask.stale);
        let world = self.world.clone();
        world.record(Fact::Asked {
            tag,
            ask: *ask,
            revision,
        });
        // What settles rests on no permit.
        let taken_back = ask.taken_back && ask.kind != Kind::Settle;
        if taken_back {
            world.look().taken_back.push(tag);
        }
        let input = json!({"tag": tag, "revision": revision, "owner": ask.owner}).to_string();
        let request = CallRequest {
            capability: match ask.kind.role() {
                Role::Reader => "read".to_owned(),
                Role::Writer => "write".to_owned(),
            },
            digest: Digest::of(input.as_bytes()),
            input: Bytes::from(input),
            constraint: None,
            deadline: Duration::from_millis(ask.deadline),
            revision,
            origin: None,
            owner: ask.owner,
            stands: Stands::while_so(move || !taken_back),
            audit: None,
            progress: None,
            cancel: None,
            late: None,
        };
        let terms = CommitTerms {
            state_token: None,
            expect: None,
            conversation: None,
            permit_rating: Verb::Write,
        };
        let durable = Stamp {
            launch: 1,
            sequence: tag,
        };
        let (supervisor, source) = (&self.supervisor, &self.source);
        let ticket = match ask.kind {
            Kind::Read => Some(supervisor.queue(source, request, Question::Read)),
            Kind::Plan => Some(supervisor.queue(source, request, Question::Plan)),
            Kind::Commit => {
                let commit = |call| terms.commit(call, durable);
                Some(supervisor.queue(source, request, commit))
            }
            Kind::Settle => None,
        };
        let (supervisor, source) = (supervisor.clone(), source.clone());
        let caller = tokio::spawn(async move {
            let outcome = match ticket {
                Some(Ok(ticket)) => ticket.wait().await.map(|reply| match reply {
                    Reply::Finished(finished) if finished.result.is_err() => Good::Failed,
                    Reply::Planned(Err(_)) => Good::Failed,
                    Reply::Finished(_) | Reply::Planned(Ok(_)) | Reply::Settled(_) => Good::Done,
                }),
                Some(Err(error)) => Err(error),
                None => match supervisor.settle(&source, intent_of(tag)).await {
                    Verdict::Happened => Ok(Good::Done),
                    Verdict::DidNot | Verdict::CannotTell => Ok(Good::Failed),
                },
            };
            world.record(Fact::Told { tag, outcome });
        });
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.push((tag, caller));
        tag
    }

    /// The outcome of a call, if it has one.
    pub(super) fn told(&self, tag: u64) -> Option<Result<Good, DispatchError>> {
        let inner = self.world.look();
        inner.log.iter().find_map(|(_, fact)| match fact {
            Fact::Told { tag: of, outcome } if *of == tag => Some(outcome.clone()),
            _ => None,
        })
    }

    /// Waits until the call has its outcome.
    pub(super) async fn outcome(&self, tag: u64) -> Option<Result<Good, DispatchError>> {
        let ends = async {
            loop {
                if let Some(outcome) = self.told(tag) {
                    return outcome;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, ends).await.ok()
    }

    /// Whatever was before: with sound workers, what runs now killed, and the time of a failed source over, both roles
    /// serve.
    async fn serves_again(&self) {
        let others =
            std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        for done in others {
            // A probe may wait for as long as a source counts as failed.
            if !matches!(timeout(LONG, done).await, Ok(Ok(()))) {
                self.world.wrong("a probe or a removal never ends".into());
            }
        }
        {
            let mut inner = self.world.look();
            inner.readers.clear();
            inner.writers.clear();
        }
        for role in [Role::Reader, Role::Writer] {
            self.world.strike(role, Signal::SIGKILL);
        }
        sleep(LONG).await;
        for kind in [Kind::Read, Kind::Plan, Kind::Commit, Kind::Settle] {
            let tag = self.ask(&Ask {
                kind,
                owner: false,
                deadline: 30_000,
                stale: false,
                taken_back: false,
            });
            let outcome = self.outcome(tag).await;
            if outcome != Some(Ok(Good::Done)) {
                self.world
                    .wrong(format!("{kind:?} is not served any more: {outcome:?}"));
            }
        }
    }

    /// Ends it with calls under way, and looks at what is left.
    async fn close(self, end: End) {
        for kind in [Kind::Read, Kind::Commit, Kind::Commit, Kind::Read] {
            self.ask(&Ask {
                kind,
                owner: false,
                deadline: 30_000,
                stale: false,
                taken_back: false,
            });
        }
        sleep(Duration::from_millis(2)).await;
        let Self {
            supervisor,
            world,
            source,
            callers,
            ..
        } = self;
        match end {
            End::Shutdown => supervisor.shutdown().await,
            End::Removed => supervisor.remove(&source).await,
            End::Dropped => {}
        }
        let left = |world: &World| {
            let inner = world.look();
            let alive = |fate: &&super::world::Fate| !fate.gone && fate.killed.is_none();
            inner.processes.values().filter(alive).count()
        };
        if !matches!(end, End::Dropped) && left(&world) > 0 {
            world.wrong(format!("{} workers outlive the end", left(&world)));
        }
        drop(supervisor);
        sleep(LONG).await;
        if left(&world) > 0 {
            world.wrong(format!("{} workers are left", left(&world)));
        }
        drop(callers);
        // This one task is the schedule's own.
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 0 {
            world.wrong(format!("{tasks} tasks are left"));
        }
    }
}
