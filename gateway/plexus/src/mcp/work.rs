//! What one call asks of the gateway, on a connection of its own that is used again.
//!
//! Invariants: a task that is dropped closes its connection, by which the gateway learns that a read is not wanted. Calls
//! share a session where one is open: an agent has a few dozen, and the oldest ends where another is opened.

use super::{manifest, refusal, replied};
use crate::{
    approval::{self, Decision, PAUSE, POLL_S, Standing},
    call::invoke,
    chat, run,
    session::{Opened, Session},
    settings::Settings,
};
use plexus_client::{Done, Exit, Stop};
use plexus_mcp::{Answer, Call, CallNews, Item, Message, NameLength, Waiting, holds_off};
use plexus_protocol::{PendingId, RunId, body::ProgressChunk};
use serde_json::json;
use std::{cell::RefCell, rc::Rc};
use tokio::time::{Instant, sleep};

/// Connections that are kept for the next call.
const IDLE: usize = 8;

/// The session of one server, and the connections that nobody uses.
pub(super) struct Pool {
    pub(super) settings: Rc<Settings>,
    pub(super) names: NameLength,
    idle: RefCell<Vec<Session>>,
    /// None before the first is open and after one was refused.
    latest: RefCell<Option<Rc<Opened>>>,
}

impl Pool {
    pub(super) fn new(settings: &Rc<Settings>, names: NameLength) -> Self {
        Self {
            settings: Rc::clone(settings),
            names,
            idle: RefCell::new(Vec::new()),
            latest: RefCell::new(None),
        }
    }
    /// A connection that nobody uses.
    pub(super) async fn take(&self) -> Result<Session, Stop> {
        let idle = self.idle.borrow_mut().pop();
        if let Some(session) = idle {
            return Ok(session);
        }
        let latest = self.latest.borrow().clone();
        if let Some(opened) = latest {
            return Session::join(&self.settings, opened).await;
        }
        let session = Session::open(&self.settings).await?;
        self.know(&session);
        Ok(session)
    }
    /// Keeps a connection whose last exchange was complete.
    pub(super) fn give_back(&self, session: Session) {
        self.know(&session);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE {
            idle.push(session);
        }
    }
    fn know(&self, session: &Session) {
        *self.latest.borrow_mut() = Some(Rc::clone(&session.opened));
    }
    /// Whether a connection that was kept may have been refused for a credential that a new code replaced; all are let go then.
    fn is_shut_out(&self, why: &plexus_mcp::Refusal) -> bool {
        let is_shut_out = matches!(why.code.as_str(), "session_expired" | "token_revoked");
        if is_shut_out {
            self.forget();
        }
        is_shut_out
    }

    /// The credential was replaced, or ended: the next call reads the file again and opens another session.
    fn forget(&self) {
        self.idle.borrow_mut().clear();
        *self.latest.borrow_mut() = None;
    }
}

/// Makes a call. Approval makes it too, whether or not anybody waits (docs/design.md#approvals).
pub(super) async fn call(pool: &Pool, call: Call) -> Answer {
    let mut body = json!({
        "id": call.capability, "input": call.input, "onApproval": "run", "token": false,
    });
    if let Some(purpose) = call.purpose {
        body["purpose"] = purpose.into();
    }
    if call.long_running {
        body["async"] = true.into();
    }
    let mut session = match pool.take().await {
        Ok(session) => session,
        Err(stop) => return Answer::Refused(refusal(stop)),
    };
    let answer = match invoke(&mut session, &body, call.read).await {
        Ok(answer) => answer,
        Err(stop) => return Answer::Refused(refusal(stop)),
    };
    let told = match (answer.run(), answer.pending()) {
        (Some(run), _) => Answer::GoesOn(Item::Run(run.run_id.clone())),
        (None, Some(id)) => Answer::GoesOn(Item::Pending(id)),
        (None, None) => replied(&answer),
    };
    match &told {
        Answer::Replied(reply) if reply["error"]["code"] == "session_expired" => pool.forget(),
        _ => pool.give_back(session),
    }
    told
}

/// Sends a message of a conversation. Its turn goes on as a run.
pub(super) async fn say(pool: &Pool, message: Message) -> Answer {
    let mut session = match pool.take().await {
        Ok(session) => session,
        Err(stop) => return Answer::Refused(refusal(stop)),
    };
    let id = message
        .id
        .unwrap_or_else(|| RunId::fresh().as_str().to_owned());
    match chat::send(&mut session, &message.conversation, &id, &message.text).await {
        Ok(taken) => {
            pool.give_back(session);
            match taken.run() {
                Some(run) => Answer::GoesOn(Item::Run(run)),
                None => {
                    let why = "that message was taken before; its answer is no longer kept.";
                    let stop = Stop::new(Exit::Failed, "expired", why).done(Done::Done);
                    Answer::Refused(refusal(stop.next("send another message")))
                }
            }
        }
        Err(stop) if stop.code == "session_expired" => Answer::Unknown,
        Err(stop) => Answer::Refused(refusal(stop)),
    }
}

/// Waits until an item has ended, also over restarts of the gateway. What is heard of it meanwhile is told.
pub(super) async fn follow(pool: &Pool, item: Item, tell: impl AsyncFn(CallNews)) -> Answer {
    loop {
        let asked = Instant::now();
        match once(pool, &item, POLL_S).await {
            Answer::UnderWay(Item::Run(run)) => {
                if matches!(item, Item::Pending(_)) {
                    tell(CallNews::Approved).await;
                }
                match hear(pool, &run, &tell).await {
                    Ok(answer) if matches!(item, Item::Run(_)) => return replied(&answer),
                    // The request has the answer, or knows why there is none.
                    Ok(_) => continue,
                    Err(stop) => match (unheard(stop), &item) {
                        (Answer::Refused(why), _) if why.code == "unreachable" => {}
                        (ended, Item::Run(_)) => return ended,
                        (_, Item::Pending(_)) => {}
                    },
                }
            }
            Answer::GoesOn(_) => {}
            Answer::Refused(why) if why.code == "unreachable" => {}
            ended => return ended,
        }
        if asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
}

/// Tells what a run streams, to its end.
async fn hear(
    pool: &Pool,
    run: &RunId,
    tell: &impl AsyncFn(CallNews),
) -> Result<crate::output::Answer, Stop> {
    let mut session = pool.take().await?;
    let mut followed = run::Followed::new(&session, run, None);
    loop {
        let asked = Instant::now();
        let (part, answer) = followed.next(&mut session, POLL_S).await?;
        let is_news = part.as_ref().is_some_and(|part| !part.chunks.is_empty());
        for chunk in part.into_iter().flat_map(|part| part.chunks) {
            tell(match chunk {
                ProgressChunk::Text(text) => CallNews::Text(text),
                ProgressChunk::Json(event) => {
                    CallNews::Event(serde_json::from_str(event.get()).unwrap_or_default())
                }
            })
            .await;
        }
        if let Some(answer) = answer {
            pool.give_back(session);
            return Ok(answer);
        }
        if !is_news && asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
}

/// Asks once how an item stands.
pub(super) async fn look(pool: &Pool, item: Item) -> Answer {
    match once(pool, &item, 0).await {
        Answer::UnderWay(_) if matches!(item, Item::Pending(_)) => Answer::UnderWay(item),
        Answer::UnderWay(run) => Answer::GoesOn(run),
        answer => answer,
    }
}

/// What of this agent's waits for the owner, whichever program asked.
pub(super) async fn list(pool: &Pool) -> Answer {
    match listed(pool).await {
        Answer::Refused(why) if pool.is_shut_out(&why) => listed(pool).await,
        answer => answer,
    }
}

async fn listed(pool: &Pool) -> Answer {
    let mut session = match pool.take().await {
        Ok(session) => session,
        Err(stop) => return Answer::Refused(refusal(stop)),
    };
    match session.listed().await {
        Ok(listed) => {
            pool.give_back(session);
            let running = listed.running.into_iter().map(Waiting::from);
            let waiting = listed.waiting.into_iter().map(Waiting::from);
            Answer::Listed(waiting.chain(running).collect())
        }
        Err(stop) => Answer::Refused(refusal(stop)),
    }
}

/// The view that this agent has now.
pub(super) async fn refresh(pool: &Pool) -> Answer {
    match manifest(pool).await {
        Ok(view) => Answer::View(view.into()),
        Err(stop) => Answer::Refused(refusal(stop)),
    }
}

/// What is known of an item, after at most `seconds`: of one that runs, its run.
async fn once(pool: &Pool, item: &Item, seconds: u64) -> Answer {
    match looked(pool, item, seconds).await {
        Answer::Refused(why) if pool.is_shut_out(&why) => looked(pool, item, seconds).await,
        answer => answer,
    }
}

async fn looked(pool: &Pool, item: &Item, seconds: u64) -> Answer {
    let mut session = match pool.take().await {
        Ok(session) => session,
        Err(stop) => return unheard(stop.done(Done::Unknown)),
    };
    let answer = match item {
        Item::Pending(id) => pending(&mut session, id, seconds).await,
        Item::Run(run) => match run::look(&mut session, run).await {
            Ok(Some(answer)) => replied(&answer),
            Ok(None) => Answer::UnderWay(item.clone()),
            Err(stop) => unheard(stop),
        },
    };
    if !matches!(answer, Answer::Refused(_)) {
        pool.give_back(session);
    }
    answer
}

async fn pending(session: &mut Session, id: &PendingId, seconds: u64) -> Answer {
    let mut looked = approval::look(session, id, seconds).await;
    // The session that asked is told of the yes after a restart of the gateway too, but of what came of it a live one alone.
    if let Ok(Standing::Decided(Decision::Approved)) = looked {
        looked = match session.reopen().await {
            Ok(()) => approval::look(session, id, seconds).await,
            Err(stop) => Err(stop.done(Done::Unknown)),
        };
    }
    match looked {
        Ok(Standing::Waits) => Answer::GoesOn(Item::Pending(id.clone())),
        Ok(Standing::Decided(Decision::Runs(run))) => Answer::UnderWay(Item::Run(run)),
        Ok(Standing::Decided(Decision::Ran(answer))) => replied(&answer),
        Ok(Standing::Decided(Decision::Approved | Decision::Added(_))) => Answer::Approved,
        Err(stop) if stop.code == "expired" => Answer::Lapsed(refusal(
            stop.next("make the same call again, if it is still wanted"),
        )),
        Err(stop) => unheard(stop),
    }
}

/// No word of an item: the gateway is away, or does not know it.
fn unheard(stop: Stop) -> Answer {
    match stop.code.as_str() {
        "session_expired" | "unknown_capability" if stop.done == Done::None => Answer::Unknown,
        "denied_by_owner" => Answer::Refused(refusal(stop)),
        _ if approval::is_final(&stop) => Answer::Refused(refusal(stop)),
        code if holds_off(code) => Answer::Refused(refusal(stop.done(Done::Unknown))),
        // It goes on all the same.
        _ if matches!(stop.exit, Exit::Waiting | Exit::Unreachable)
            || stop.done == Done::Unknown =>
        {
            let mut why = refusal(stop);
            why.code = "unreachable".to_owned();
            why.effect = Done::Unknown;
            Answer::Refused(why)
        }
        _ => Answer::Refused(refusal(stop)),
    }
}

/// Withdraws a pending item, or cancels a run.
pub(super) async fn cancel(pool: &Pool, item: Item) -> Answer {
    let mut session = match pool.take().await {
        Ok(session) => session,
        Err(stop) => return Answer::Refused(refusal(stop)),
    };
    let cancelled = match &item {
        Item::Pending(id) => approval::withdraw(&mut session, id).await,
        Item::Run(run) => run::cancel(&mut session, run).await,
    };
    match cancelled {
        Ok(()) => {
            pool.give_back(session);
            Answer::Cancelled
        }
        Err(stop) if stop.code == "session_expired" => Answer::Unknown,
        Err(stop) => Answer::Refused(refusal(stop)),
    }
}
