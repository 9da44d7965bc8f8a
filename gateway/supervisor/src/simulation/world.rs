//! The machine that the puppets live on, and the record of what happened on it.
//!
//! Invariant: every fact is recorded at the moment it becomes true, by the code that makes it true; what breaks a law on the
//! spot is noted on the spot.

use super::{
    super::{
        call::DispatchError,
        notice::Cause,
        os::ProcessUsage,
        process::{Process, Spawned},
        setup::{Context, Spec},
        start::StartError,
        stderr,
    },
    puppet,
    script::{Ask, Birth, Life},
};
use nix::sys::signal::Signal;
use plexus_ipc::{
    egress::Revocation,
    gateway,
    message::{Probe, Role, Secrets},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{DuplexStream, ReadHalf},
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Bytes that a stream between two processes holds.
const PIPE: usize = 64 * 1024;
/// How long a killed process may hold its place on the record before the next may come up beside it: that of the stop
/// protocol.
pub(super) const REAPED_WITHIN: Duration = super::super::start::REAP_WITHIN;

/// Something that happened. What no law asks is there for a reader of a history.
#[expect(dead_code, reason = "shown by Debug")]
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// A start was begun.
    Begun {
        role: Role,
        revision: u64,
        pid: u32,
    },
    /// From the supervisor's notices.
    StartFailed {
        role: Role,
        attempts: u32,
    },
    Serves {
        role: Role,
        pid: u32,
    },
    Ended {
        role: Role,
        pid: u32,
        cause: Cause,
    },
    /// From the puppets.
    Got {
        pid: u32,
        tag: u64,
    },
    Answered {
        pid: u32,
    },
    Gone {
        pid: u32,
    },
    /// From the stage.
    Asked {
        tag: u64,
        ask: Ask,
        revision: u64,
    },
    HungUp {
        tag: u64,
    },
    Told {
        tag: u64,
        outcome: Result<Good, DispatchError>,
    },
    OwnerProbes,
    Replaced {
        revision: u64,
    },
    Removed,
}

/// What a caller got, where it got something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Good {
    /// The worker did it.
    Done,
    /// The worker says why not.
    Failed,
}

/// A process.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) role: Role,
    pub(super) killed: Option<Duration>,
    pub(super) gone: bool,
    condition: watch::Sender<Condition>,
    grows_at: Option<Instant>,
}

/// What was done to a process from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Condition {
    pub(super) killed: bool,
    pub(super) asked: bool,
    pub(super) frozen: bool,
    pub(super) gone: bool,
}

/// See the module. Clones are the same world.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Inner>>);

pub(super) struct Inner {
    began: Instant,
    pub(super) log: Vec<(Duration, Fact)>,
    pub(super) broken: Vec<String>,
    pub(super) readers: VecDeque<Life>,
    pub(super) writers: VecDeque<Life>,
    pub(super) processes: BTreeMap<u32, Fate>,
    /// How often an effect was done, by the call's tag.
    pub(super) effects: BTreeMap<u64, u32>,
    /// How often a call came to a worker.
    pub(super) got: BTreeMap<u64, u32>,
    /// Calls that were taken back before they could be sent.
    pub(super) taken_back: Vec<u64>,
    slept: Duration,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(readers: &[Life], writers: &[Life]) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            log: Vec::new(),
            broken: Vec::new(),
            readers: readers.iter().cloned().collect(),
            writers: writers.iter().cloned().collect(),
            processes: BTreeMap::new(),
            effects: BTreeMap::new(),
            got: BTreeMap::new(),
            taken_back: Vec::new(),
            slept: Duration::ZERO,
        })))
    }

    pub(super) fn look(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, fact: Fact) {
        let mut inner = self.look();
        let at = inner.began.elapsed();
        inner.log.push((at, fact));
    }

    pub(super) fn now(&self) -> Duration {
        self.look().began.elapsed()
    }

    /// Notes a broken law.
    pub(super) fn wrong(&self, what: String) {
        let mut inner = self.look();
        let at = inner.began.elapsed();
        inner.broken.push(format!("{at:?}: {what}"));
    }

    pub(super) fn naps(&self, time: Duration) {
        self.look().slept += time;
    }

    /// Signals from outside: to the process of `role` that was started last.
    pub(super) fn strike(&self, role: Role, signal: Signal) {
        let inner = self.look();
        let last = inner
            .processes
            .iter()
            .rev()
            .find(|(_, fate)| fate.role == role);
        let pid = last.map(|(pid, _)| *pid);
        drop(inner);
        if let Some(pid) = pid {
            self.signal(pid, signal);
        }
    }

    pub(super) fn signal(&self, pid: u32, signal: Signal) {
        let mut inner = self.look();
        let now = inner.began.elapsed();
        let Some(fate) = inner.processes.get_mut(&pid) else {
            return;
        };
        if signal == Signal::SIGKILL {
            fate.killed.get_or_insert(now);
        }
        fate.condition.send_modify(|condition| match signal {
            Signal::SIGKILL => condition.killed = true,
            Signal::SIGTERM => condition.asked = true,
            Signal::SIGSTOP => condition.frozen = true,
            Signal::SIGCONT => condition.frozen = false,
            _ => {}
        });
    }

    /// A process is no more; its descriptors are closed.
    pub(super) fn gone(&self, pid: u32) {
        let mut inner = self.look();
        if let Some(fate) = inner.processes.get_mut(&pid) {
            fate.gone = true;
            fate.condition
                .send_modify(|condition| condition.gone = true);
        }
        drop(inner);
        self.record(Fact::Gone { pid });
    }

    /// The next life of `role`, in a fresh process.
    fn bear(&self, role: Role, revision: u64) -> (u32, Life, watch::Receiver<Condition>) {
        let mut inner = self.look();
        let now = inner.began.elapsed();
        let lives = match role {
            Role::Reader => &mut inner.readers,
            Role::Writer => &mut inner.writers,
        };
        let life = lives.pop_front().unwrap_or_else(Life::sound);
        let pid = 1_000 + u32::try_from(inner.processes.len()).unwrap_or(u32::MAX);
        // The law that matters most: no two that could both write.
        let beside: Vec<String> = inner
            .processes
            .iter()
            .filter(|(_, other)| other.role == role && !other.gone)
            .filter(|(_, other)| {
                other
                    .killed
                    .is_none_or(|killed| now < killed + REAPED_WITHIN)
            })
            .map(|(pid, other)| format!("{pid} (killed {:?})", other.killed))
            .collect();
        if !beside.is_empty() {
            let what = format!(
                "{now:?}: {role} {pid} is started beside {}",
                beside.join(", ")
            );
            inner.broken.push(what);
        }
        let (condition, seen) = watch::channel(Condition::default());
        let grows_at = life
            .grows_at
            .map(|ms| Instant::now() + Duration::from_millis(ms));
        inner.processes.insert(
            pid,
            Fate {
                role,
                killed: None,
                gone: false,
                condition,
                grows_at,
            },
        );
        inner.log.push((
            now,
            Fact::Begun {
                role,
                revision,
                pid,
            },
        ));
        (pid, life, seen)
    }
}

/// A process of the world, held as an actor holds one.
#[derive(Debug)]
pub(super) struct Puppet {
    pid: u32,
    world: World,
}

impl Process for Puppet {
    type Spawner = World;
    type Stream = ReadHalf<DuplexStream>;
    type Targets = ();

    async fn revoke(_: &Arc<Context<Self>>, _: &Arc<Spec>) -> Revocation {
        Revocation::Unoffered { until: None }
    }

    async fn start(
        context: &Arc<Context<Self>>,
        spec: &Arc<Spec>,
        role: Role,
    ) -> Result<Spawned<Self>, StartError> {
        let world = context.spawner.clone();
        let (pid, life, condition) = world.bear(role, spec.revision);
        let why = || io::Error::other(format!("of revision {}", spec.revision));
        let failure = match life.birth {
            Birth::NoProcess => Some(StartError::Spawn(why())),
            Birth::NotPrepared => Some(StartError::Prepare {
                what: "the folder",
                source: why(),
            }),
            Birth::Well | Birth::Until(..) => None,
        };
        if let Some(failure) = failure {
            sleep(Duration::from_millis(life.slow)).await;
            world.gone(pid);
            return Err(failure);
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let (read, write) = tokio::io::split(ours);
        let (out, inbox) = gateway::over(read, write, role);
        tokio::spawn(puppet::live(
            puppet::Own {
                world: world.clone(),
                pid,
                role,
                revision: spec.revision,
                manifest: spec.offer.manifest.digest(),
                life,
            },
            theirs,
            condition,
        ));
        Ok(Spawned {
            egress: None,
            process: Self { pid, world },
            out,
            inbox,
            stderr: stderr::follow(tokio::io::empty(), &spec.source, role, pid),
            secrets: Secrets::default(),
            probe: Probe {
                canary: "/canary".into(),
                state_dir: "/state".into(),
                tcp_port: 1,
                unix_socket: "/socket".into(),
                parent_pid: 1,
                launcher_pid: 1,
            },
            targets: (),
        })
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn held(&self) -> Option<ProcessUsage> {
        let inner = self.world.look();
        let fate = inner.processes.get(&self.pid)?;
        let large = fate.grows_at.is_some_and(|at| at <= Instant::now());
        (!fate.gone).then_some(ProcessUsage {
            memory: if large { u64::MAX } else { 1 << 20 },
            resident: 1 << 20,
            threads: 2,
        })
    }

    fn slept(&self) -> Duration {
        self.world.look().slept
    }

    fn signal(&self, signal: Signal) {
        self.world.signal(self.pid, signal);
    }

    async fn end(self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        let condition = self
            .world
            .look()
            .processes
            .get(&self.pid)
            .map(|fate| fate.condition.subscribe());
        let mut condition = condition?;
        let gone = timeout(patience, condition.wait_for(|condition| condition.gone)).await;
        gone.ok().map(|_| ExitStatus::from_raw(9))
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
