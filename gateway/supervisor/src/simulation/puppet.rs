//! A worker that follows its script: real frames on its end of the stream, and no process behind.
//!
//! It holds the laws that only a worker can see: which calls come to it, and that nothing comes after `Stop`.
//!
//! Must not know: what the supervisor makes of it.

use super::{
    script::{Birth, Deed, Life, OnStop, Probes, Step, Trouble},
    words,
    world::{Condition, Fact, World},
};
use crate::UNDER_WAY;
use plexus_ipc::{
    BUILD,
    frame::{FrameReader, MAX_FRAME, encode},
    message::{
        Chunk, Failure, FromWorker, Health, OpenError, Planned, Progress, Role, ToWorker,
        WorkerError,
    },
};
use plexus_protocol::Digest;
use serde_json::Value;
use std::{collections::BTreeMap, future::pending, time::Duration};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Who it is.
pub(super) struct Own {
    pub(super) world: World,
    pub(super) pid: u32,
    pub(super) role: Role,
    pub(super) revision: u64,
    pub(super) manifest: Digest,
    pub(super) life: Life,
}

/// Lives until it is killed or goes by itself; then its end of the stream is closed.
pub(super) async fn live(
    own: Own,
    stream: DuplexStream,
    mut condition: watch::Receiver<Condition>,
) {
    let (world, pid) = (own.world.clone(), own.pid);
    let (lingers, exits_at) = (own.life.lingers, own.life.exits_at);
    let (heeds_term, born) = (own.life.heeds_term, Instant::now());
    let (read, write) = tokio::io::split(stream);
    let mut acting = Acting {
        own,
        inbox: FrameReader::new(read, MAX_FRAME),
        write,
        condition: condition.clone(),
        calls: BTreeMap::new(),
        due: BTreeMap::new(),
        count: 0,
        probes: 0,
        stopping: false,
        deaf: false,
        guess: None,
    };
    let exits = async {
        match exits_at {
            Some(ms) => sleep_until(born + Duration::from_millis(ms)).await,
            None => pending().await,
        }
    };
    let killed = select! {
        biased;
        _ = condition.wait_for(|it| it.killed || (it.asked && heeds_term && !it.frozen)) => true,
        () = exits => false,
        _ = acting.act() => false,
    };
    if killed {
        // It does nothing any more, and its descriptors are open until the kernel has let go of it.
        sleep(Duration::from_millis(lingers)).await;
    }
    drop(acting);
    world.gone(pid);
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Read,
    Plan,
    Commit,
    Settle,
}

struct UnderWay {
    asked: Asked,
    tag: u64,
    owner: bool,
}

struct Acting {
    own: Own,
    inbox: FrameReader<ReadHalf<DuplexStream>, ToWorker>,
    write: WriteHalf<DuplexStream>,
    condition: watch::Receiver<Condition>,
    calls: BTreeMap<u64, UnderWay>,
    /// What it is about to do.
    due: BTreeMap<(Instant, u64), Deed>,
    count: usize,
    probes: u32,
    stopping: bool,
    deaf: bool,
    /// The id that it answers next, unasked.
    guess: Option<u64>,
}

/// It goes.
struct Exit;

impl Acting {
    async fn act(&mut self) -> Result<(), Exit> {
        self.come_up().await?;
        if matches!(self.own.life.probes, Probes::Unasked) {
            self.probed(7, false).await?;
        }
        loop {
            let next = self.due.keys().next().map(|(at, _)| *at);
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            let guessing = self.guess.is_some();
            let message = select! {
                biased;
                () = due => None,
                () = sleep(Duration::from_millis(1)), if guessing => None,
                message = self.inbox.next(), if !self.deaf => match message {
                    Ok(Some(message)) => Some(message),
                    Ok(None) | Err(_) => return Err(Exit),
                },
            };
            match message {
                Some(message) => self.hear(message).await?,
                None => {
                    if let Some(id) = self.guess {
                        self.guess = Some(id + 1);
                        self.done(id, b"null").await?;
                    }
                }
            }
            let now = Instant::now();
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= now
            {
                let ((_, id), deed) = entry.remove_entry();
                self.thawed().await;
                self.perform(id, deed).await?;
            }
            if self.stopping && self.calls.values().all(|call| call.asked != Asked::Commit) {
                return Err(Exit);
            }
        }
    }

    /// Waits while it is stopped.
    async fn thawed(&mut self) {
        let _ = self.condition.wait_for(|condition| !condition.frozen).await;
    }

    async fn say(&mut self, message: &FromWorker) -> Result<(), Exit> {
        self.bytes(&encode(message, MAX_FRAME).unwrap_or_default())
            .await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        self.thawed().await;
        self.write.write_all(bytes).await.map_err(|_| Exit)
    }

    async fn come_up(&mut self) -> Result<(), Exit> {
        let Ok(Some(ToWorker::Start(start))) = self.inbox.next().await else {
            self.own.world.wrong("the first word is not Start".into());
            return Err(Exit);
        };
        if start.role != self.own.role {
            self.own.world.wrong("Start for another role".into());
        }
        let birth = self.own.life.birth.clone();
        for step in [Step::Hello, Step::Described, Step::Opened] {
            sleep(Duration::from_millis(self.own.life.slow)).await;
            match birth {
                Birth::Until(at, trouble) if at == step => self.fail_to(step, trouble).await?,
                Birth::Until(..) | Birth::Well | Birth::NoProcess | Birth::NotPrepared => {
                    let said = words::introduction(step, self.own.manifest);
                    self.say(&said).await?;
                }
            }
        }
        Ok(())
    }

    async fn fail_to(&mut self, step: Step, trouble: Trouble) -> Result<(), Exit> {
        let said = match (trouble, step) {
            (Trouble::Exits, _) => return Err(Exit),
            (Trouble::SaysNothing, _) => pending().await,
            (Trouble::Garbage, _) => {
                self.bytes(b"\x04\0\0\0\xc1\xc1\xc1\xc1").await?;
                return pending().await;
            }
            (Trouble::OutOfTurn, _) => words::done(1, Ok(words::json(b"null"))),
            (Trouble::Unsound, _) => words::hello(BUILD, false),
            (Trouble::Otherwise, Step::Hello) => words::hello("another", true),
            (Trouble::Otherwise, Step::Described) => {
                words::introduction(step, Digest::of(b"another"))
            }
            (Trouble::Otherwise, Step::Opened) => {
                let why = format!("of revision {}", self.own.revision);
                FromWorker::OpenFailed(OpenError::unavailable(why))
            }
        };
        self.say(&said).await?;
        pending().await
    }

    async fn hear(&mut self, message: ToWorker) -> Result<(), Exit> {
        if self.stopping || matches!(message, ToWorker::Start(_)) {
            let what = format!("{} gets {} out of turn", self.own.pid, message.name());
            self.own.world.wrong(what);
        }
        self.thawed().await;
        match message {
            ToWorker::Start(_) => {}
            ToWorker::Read(call) => self.asked(Asked::Read, call.id, &call.input.0),
            ToWorker::Plan(call) => self.asked(Asked::Plan, call.id, &call.input.0),
            ToWorker::Commit(commit) => {
                self.asked(Asked::Commit, commit.call.id, &commit.call.input.0);
            }
            ToWorker::Settle { id, audit } => {
                let tag = words::tag_of(&audit);
                let revision = self.own.revision;
                let input = serde_json::json!({"tag": tag, "revision": revision, "owner": true});
                self.asked(Asked::Settle, id, input.to_string().as_bytes());
            }
            ToWorker::Credit { .. } | ToWorker::HostAnswer { .. } => {}
            ToWorker::Cancel { id } => {
                if self.own.life.heeds_cancel && self.calls.contains_key(&id) {
                    self.due.retain(|(_, other), _| *other != id);
                    self.fail(id, Failure::Cancelled).await?;
                }
            }
            message @ (ToWorker::Probe { nonce } | ToWorker::Check { nonce }) => {
                let is_check = matches!(message, ToWorker::Check { .. });
                self.probes += 1;
                match self.own.life.probes {
                    Probes::In(ms) | Probes::Unwell(ms) => {
                        // Probes are never so close that one would have to wait for another.
                        sleep(Duration::from_millis(ms)).await;
                        self.probed(nonce, is_check).await?;
                    }
                    Probes::Only(most) if self.probes <= most => {
                        self.probed(nonce, is_check).await?;
                    }
                    Probes::Only(_) | Probes::Never => {}
                    Probes::WrongNonce => self.probed(nonce + 1, is_check).await?,
                    Probes::Unasked => self.probed(nonce, is_check).await?,
                }
            }
            ToWorker::Stop => match self.own.life.stop {
                OnStop::Ends => self.stopping = true,
                OnStop::Ignores => {}
            },
        }
        Ok(())
    }

    async fn probed(&mut self, nonce: u64, is_check: bool) -> Result<(), Exit> {
        let health = match self.own.life.probes {
            Probes::Unwell(_) => Health::Degraded("as told".into()),
            // Only the app knows it.
            Probes::In(_) if is_check => Health::Degraded("as the app says".into()),
            Probes::In(_)
            | Probes::Never
            | Probes::Only(_)
            | Probes::WrongNonce
            | Probes::Unasked => Health::Well,
        };
        self.own.world.record(Fact::Answered { pid: self.own.pid });
        self.say(&FromWorker::Probed { nonce, health }).await
    }

    /// A call comes: what is allowed is looked at here, where it arrives.
    fn asked(&mut self, asked: Asked, id: u64, input: &[u8]) {
        let input: Value = serde_json::from_slice(input).unwrap_or_default();
        let tag = input["tag"].as_u64().unwrap_or(0);
        let owner = input["owner"] == true;
        let own = &self.own;
        let wrong = |what: &str| {
            let pid = own.pid;
            own.world.wrong(format!("call {tag} came to {pid}: {what}"));
        };
        let reads = matches!(asked, Asked::Read | Asked::Plan);
        if reads != (own.role == Role::Reader) {
            wrong("another role's");
        }
        if input["revision"] != own.revision {
            wrong("another revision's");
        }
        if own.world.look().taken_back.contains(&tag) {
            wrong("it was taken back");
        }
        if self.calls.contains_key(&id) {
            wrong("it is under way already");
        }
        own.world.record(Fact::Got { pid: own.pid, tag });
        *own.world.look().got.entry(tag).or_default() += 1;
        self.calls.insert(id, UnderWay { asked, tag, owner });
        let agents = self.calls.values().filter(|call| !call.owner).count();
        if self.calls.len() > UNDER_WAY || agents > UNDER_WAY - 1 {
            wrong("more than may be under way");
        }
        let deeds = &self.own.life.deeds;
        let deed = deeds[self.count % deeds.len()];
        self.count += 1;
        let after = match deed {
            Deed::Answers(ms)
            | Deed::Fails(ms)
            | Deed::Tells(ms)
            | Deed::Dies(ms)
            | Deed::DoesAndDies(ms)
            | Deed::AnswersAndDies(ms)
            | Deed::Twice(ms)
            | Deed::OtherKind(ms)
            | Deed::Stranger(ms)
            | Deed::TooLarge(ms)
            | Deed::NotJson(ms)
            | Deed::Garbage(ms)
            | Deed::HalfAFrame(ms)
            | Deed::HelloAgain(ms) => ms,
            Deed::GoesDeaf | Deed::Guesses | Deed::Floods(_) => 0,
            Deed::Keeps => return,
        };
        let at = Instant::now() + Duration::from_millis(after);
        self.due.insert((at, id), deed);
    }

    async fn perform(&mut self, id: u64, deed: Deed) -> Result<(), Exit> {
        match deed {
            Deed::Keeps => {}
            Deed::Answers(_) => self.answer(id).await?,
            Deed::Fails(_) => self.fail(id, Failure::Internal).await?,
            Deed::Tells(_) => {
                let chunk = Chunk::Text("on its way".into());
                let progress = Progress { id, chunk };
                self.say(&FromWorker::Progress(progress)).await?;
                self.answer(id).await?;
            }
            Deed::Floods(lines) => {
                let chunk = Chunk::Text("and on".into());
                let progress = FromWorker::Progress(Progress { id, chunk });
                let frame = encode(&progress, MAX_FRAME).unwrap_or_default();
                self.bytes(&frame.repeat(lines as usize)).await?;
                self.answer(id).await?;
            }
            Deed::Dies(_) => return Err(Exit),
            Deed::DoesAndDies(_) => {
                self.effect(id);
                return Err(Exit);
            }
            Deed::AnswersAndDies(_) => {
                self.answer(id).await?;
                return Err(Exit);
            }
            Deed::Twice(_) => {
                self.answer(id).await?;
                self.done(id, b"null").await?;
            }
            Deed::OtherKind(_) => {
                self.effect(id);
                let other = match self.calls.get(&id).map(|call| call.asked) {
                    Some(Asked::Read | Asked::Commit) => words::only_of(self.own.role, id),
                    Some(Asked::Plan | Asked::Settle) | None => {
                        words::done(id, Ok(words::json(b"null")))
                    }
                };
                self.say(&other).await?;
            }
            Deed::Stranger(_) => self.done(id + 1_000_000, b"null").await?,
            Deed::TooLarge(_) => {
                self.effect(id);
                let large = format!("\"{}\"", "x".repeat(words::FRAME));
                self.done(id, large.as_bytes()).await?;
            }
            Deed::NotJson(_) => {
                self.effect(id);
                self.answered(id);
                self.bytes(&words::not_json(id)).await?;
            }
            Deed::Garbage(_) => self.bytes(b"\xff\xff\xff\xff").await?,
            Deed::HalfAFrame(_) => {
                self.bytes(b"\x10\0\0\0\x81").await?;
                return Err(Exit);
            }
            Deed::HelloAgain(_) => {
                let hello = words::introduction(Step::Hello, self.own.manifest);
                self.say(&hello).await?;
            }
            Deed::GoesDeaf => self.deaf = true,
            Deed::Guesses => {
                self.deaf = true;
                self.guess = Some(id);
            }
        }
        Ok(())
    }

    /// The thing itself, for a commit.
    fn effect(&mut self, id: u64) {
        if let Some(call) = self.calls.get(&id)
            && call.asked == Asked::Commit
        {
            *self.own.world.look().effects.entry(call.tag).or_default() += 1;
        }
    }

    async fn answer(&mut self, id: u64) -> Result<(), Exit> {
        self.effect(id);
        let Some(call) = self.calls.remove(&id) else {
            return Ok(());
        };
        self.own.world.record(Fact::Answered { pid: self.own.pid });
        let said = match call.asked {
            Asked::Read | Asked::Commit => words::done(id, Ok(words::json(b"null"))),
            Asked::Plan => words::only_of(Role::Reader, id),
            Asked::Settle => words::only_of(Role::Writer, id),
        };
        self.say(&said).await
    }

    async fn fail(&mut self, id: u64, failure: Failure) -> Result<(), Exit> {
        let Some(call) = self.calls.remove(&id) else {
            return Ok(());
        };
        self.own.world.record(Fact::Answered { pid: self.own.pid });
        let error = WorkerError::new(failure, "as told");
        let said = match call.asked {
            Asked::Read | Asked::Commit => words::done(id, Err(error)),
            Asked::Plan => FromWorker::Planned(Box::new(Planned {
                id,
                result: Err(error),
            })),
            Asked::Settle => words::only_of(Role::Writer, id),
        };
        self.say(&said).await
    }

    async fn done(&mut self, id: u64, output: &[u8]) -> Result<(), Exit> {
        self.answered(id);
        self.say(&words::done(id, Ok(words::json(output)))).await
    }

    fn answered(&self, id: u64) {
        if self.calls.contains_key(&id) || self.guess.is_some() {
            self.own.world.record(Fact::Answered { pid: self.own.pid });
        }
    }
}
