//! Calling a capability, from the words on the command line to what is printed.
//!
//! ```text
//! opening ─▶ calling ─▶ answered
//!               │  ▲
//!               │  └── approved without a result ──┐
//!               ├─▶ waiting for the owner ─────────┴─▶ answered | denied | still waiting
//!               │              │  ▲
//!               └─▶ running ◀──┴──┘ ─▶ answered
//! ```
//! Invariant: after an interruption the command says truthfully how far it was: whether anything can have been done,
//! and how to go on.

use crate::{
    approval::{self, Decision, Standing},
    chat,
    cli::{Call, Cancel, Continue, Patience, Wait},
    command, extension,
    gateway::Route,
    input::{self, Input},
    output::{Answer, Form},
    run,
    session::Session,
    settings::Settings,
};
use plexus_client::{Done, Exit, Request, Stop, out, span, text};
use plexus_mcp::cut::Takes;
use plexus_protocol::{PendingId, Provenance, RunId};
use serde_json::{Map, Value, json};
use std::{
    cell::RefCell,
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long a call may take that is not long-running: four times the gateway's own deadline (docs/design.md#workers),
/// because the call may stand in a queue first.
const CALL: Duration = Duration::from_secs(120);
/// How often a result is looked for that the owner's approval has set off.
const RESULT_LOOKS: u32 = 10;

/// How long a second Ctrl-C is waited for.
const SECOND_PRESS: Duration = Duration::from_secs(3);
/// How long a cancelled run may take to end while its command waits.
const CANCELLED_WITHIN: Duration = Duration::from_secs(15);

/// How far a call is.
enum CallStage {
    Opening,
    Calling { read: bool },
    Waiting(PendingId),
    Running(RunId),
}

impl CallStage {
    fn interrupted(&self) -> Stop {
        let stop = |why: &str| Stop::new(Exit::Failed, "interrupted", why);
        match self {
            Self::Opening => stop("you interrupted it before it was sent"),
            Self::Calling { read: true } => stop("you interrupted it; it only reads"),
            Self::Calling { read: false } => stop("you interrupted it while the gateway was at it")
                .done(Done::Unknown)
                .next("stop; tell the owner: look in `plexusctl audit tail` whether it was done"),
            Self::Waiting(id) => approval::out_of_sight(id, "you interrupted the waiting"),
            Self::Running(id) => run::goes_on(id, "you interrupted the waiting"),
        }
    }

    /// The request or run that keeps its answer.
    fn item(&self) -> Option<&str> {
        match self {
            Self::Opening | Self::Calling { .. } => None,
            Self::Waiting(id) => Some(id.as_str()),
            Self::Running(id) => Some(id.as_str()),
        }
    }
}

/// A call as it is sent.
#[derive(Default)]
struct BuiltCall {
    input: Input,
    takes: Takes,
    is_read: bool,
}

enum CallOutput {
    Answer(Answer),
    /// What it said was shown as it came.
    Followed(Answer),
    /// A text instead of an answer.
    Text(String),
    /// A text that has the form that was asked for.
    Formed(String),
}

/// Calls a capability and prints what came of it.
pub(crate) async fn run(settings: &Settings, call: Call) -> Result<Exit, Stop> {
    let stage = RefCell::new(CallStage::Opening);
    let built = RefCell::new(BuiltCall::default());
    call.printing.check()?;
    let ended = interruptible(settings, perform(settings, &call, &built, &stage), &stage).await;
    if let Ok(CallOutput::Answer(answer) | CallOutput::Followed(answer)) = &ended
        && let Some(open) = answer
            .conversation()
            .filter(|_| chat::can_talk(&call.printing))
    {
        let first = shown(answer, &ended);
        return chat::go_on(settings, &call.capability, first, open.run_id.clone()).await;
    }
    let built = built.into_inner();
    finish(
        ended,
        &Form {
            printing: &call.printing,
            call: Some((&call.capability, &built.input, built.takes)),
            is_read: built.is_read,
            item: stage.borrow().item(),
        },
    )
}

/// A turn, and whether what it said was shown as it came.
const fn shown<'a>(answer: &'a Answer, ended: &Result<CallOutput, Stop>) -> chat::First<'a> {
    chat::First {
        answer,
        is_shown: matches!(ended, Ok(CallOutput::Followed(_))),
    }
}

/// Sends a further message in a conversation and prints its answer. One that is over is taken up again by a new call, with its
/// thread: the owner decides on that one.
pub(crate) async fn go_on(settings: &Settings, said: &Continue) -> Result<Exit, Stop> {
    let stage = RefCell::new(CallStage::Opening);
    said.printing.check()?;
    let say = Box::pin(say(settings, said, &stage));
    let ended = interruptible(settings, say, &stage).await;
    if let Ok(CallOutput::Answer(answer) | CallOutput::Followed(answer)) = &ended
        && answer.failure().is_none()
        && let Some(open) = answer
            .conversation()
            .filter(|_| chat::can_talk(&said.printing))
    {
        return chat::show_turn(&shown(answer, &ended), open);
    }
    finish(
        ended,
        &Form {
            printing: &said.printing,
            call: None,
            is_read: false,
            item: stage.borrow().item(),
        },
    )
}

async fn say(
    settings: &Settings,
    said: &Continue,
    stage: &RefCell<CallStage>,
) -> Result<CallOutput, Stop> {
    let mut session = Session::open(settings).await?;
    let text = said.words.join(" ");
    stage.replace(CallStage::Calling { read: false });
    let sent = chat::send(
        &mut session,
        &said.conversation,
        RunId::fresh().as_str(),
        &text,
    )
    .await;
    let refused = match sent {
        Ok(taken) => {
            let Some(run) = taken.run() else {
                let why = "that message was taken before; its answer is no longer kept";
                return Err(Stop::new(Exit::Failed, "expired", why).done(Done::Done));
            };
            stage.replace(CallStage::Running(run.clone()));
            let answer = run::follow(&mut session, &run, None, None).await?;
            return Ok(CallOutput::Followed(answer));
        }
        Err(stop) if stop.code == "not_accepting_input" => stop,
        Err(stop) => return Err(stop),
    };
    let (first, left) = approval::opened(&mut session, &said.conversation.item()).await?;
    // One that still takes messages does not take this one: a turn of it is under way.
    let is_over = left.expires_at.is_none();
    let thread = first.output()["thread"].as_str().filter(|_| is_over);
    let (Some(thread), Some(capability)) = (thread, first.capability()) else {
        return Err(refused);
    };
    let entry = session.entry(&capability);
    let message = entry.and_then(|entry| Some(entry.conversation.as_ref()?.message.clone()));
    let Some(message) = message else {
        return Err(refused);
    };
    out::say("this conversation is over; taking it up again asks the owner");
    let call = Call {
        capability,
        words: Vec::new(),
        input: Some(json!({message: text, "thread": thread}).to_string()),
        printing: said.printing.clone(),
        purpose: said.purpose.clone(),
        patience: said.patience,
    };
    perform(settings, &call, &RefCell::default(), stage).await
}

/// Waits for what an earlier call left behind and prints what came of it; where none is named, lists what waits.
pub(crate) async fn resume(settings: &Settings, wait: Wait) -> Result<Exit, Stop> {
    let stage = RefCell::new(CallStage::Opening);
    wait.printing.check()?;
    // A list is never cut, and waits for nobody.
    let of_an_answer = wait.printing.out.is_some() || wait.patience.is_timed();
    if wait.item.is_none() && of_an_answer {
        return Err(Stop::usage("--out and --wait are for one request or run")
            .next("name it: pend_… or run_…"));
    }
    let ended = match &wait.item {
        Some(item) => {
            let work = take_up(settings, item, wait.patience, &stage);
            interruptible(settings, work, &stage).await
        }
        None => {
            let listed = list_waiting(settings, wait.printing.json).await;
            listed.map(CallOutput::Formed)
        }
    };
    finish(
        ended,
        &Form {
            printing: &wait.printing,
            call: None,
            is_read: false,
            item: wait.item.as_deref(),
        },
    )
}

/// The requests of this agent that wait for the owner, whichever program asked.
async fn list_waiting(settings: &Settings, as_json: bool) -> Result<String, Stop> {
    let mut session = Session::open(settings).await?;
    let waiting = session.waiting().await?;
    if as_json {
        return Ok(json!({"waiting": waiting}).to_string());
    }
    let now = span::now();
    let lines = waiting.iter().map(|one| {
        let asked = span::ago(one.created_at, now);
        let why = one.purpose.as_deref().map(text::words);
        let why = why.map_or_else(String::new, |why| format!(": “{why}”"));
        format!(
            "{} {} asked {asked}{why}",
            one.pending_id, one.capability_id
        )
    });
    let lines: Vec<_> = lines.collect();
    Ok(match lines.is_empty() {
        true => "no request of yours waits for the owner".to_owned(),
        false => lines.join("\n"),
    })
}

/// Cancels a run, or withdraws a request, that an earlier call left behind.
pub(crate) async fn cancel(settings: &Settings, cancel: &Cancel) -> Result<Exit, Stop> {
    let said = match item_of(&cancel.item)? {
        Item::Run(run) => {
            let mut session = Session::open(settings).await?;
            run::cancel(&mut session, &run).await?;
            format!(
                "cancelling; see what was done: {}",
                command::line(format_args!("wait {run}"))
            )
        }
        Item::Request(item) => {
            let mut session = Session::open(settings).await?;
            approval::withdraw(&mut session, &item).await?;
            format!("withdrawn: {item}")
        }
    };
    out::line(&said)?;
    Ok(Exit::Ok)
}

/// Carries `work` to its end or to an interruption. A person at a terminal who interrupts a run is asked: a second
/// Ctrl-C cancels it, and its result says what was done.
async fn interruptible(
    settings: &Settings,
    work: impl Future<Output = Result<CallOutput, Stop>>,
    stage: &RefCell<CallStage>,
) -> Result<CallOutput, Stop> {
    let mut work = pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        _ = tokio::signal::ctrl_c() => {}
    }
    let run = match &*stage.borrow() {
        CallStage::Running(run) if io::stderr().is_terminal() => run.clone(),
        other => return Err(other.interrupted()),
    };
    out::say("press Ctrl-C again to cancel it; else it continues at the gateway");
    tokio::select! {
        ended = &mut work => return ended,
        _ = tokio::signal::ctrl_c() => {}
        () = sleep(SECOND_PRESS) => return Err(run::goes_on(&run, "you interrupted the waiting")),
    }
    run::cancel(&mut Session::open(settings).await?, &run).await?;
    out::say("cancelling");
    tokio::select! {
        ended = work => ended,
        _ = tokio::signal::ctrl_c() => Err(run::goes_on(&run, "it is being cancelled")),
        () = sleep(CANCELLED_WITHIN) => Err(run::goes_on(&run, "it does not end at once")),
    }
}

fn finish(ended: Result<CallOutput, Stop>, form: &Form<'_>) -> Result<Exit, Stop> {
    match ended {
        Ok(CallOutput::Answer(answer) | CallOutput::Followed(answer)) => {
            let shown = form.show(&answer);
            if let Some(open) = answer.conversation().filter(|_| !form.printing.json) {
                chat::say_left(open);
            }
            shown
        }
        Ok(CallOutput::Text(text)) => form.show_text(&text).map(|()| Exit::Ok),
        Ok(CallOutput::Formed(text)) => form.print(&text).map(|()| Exit::Ok),
        Err(stop) => {
            form.show_stop(&stop)?;
            Err(stop)
        }
    }
}

async fn perform(
    settings: &Settings,
    call: &Call,
    built: &RefCell<BuiltCall>,
    stage: &RefCell<CallStage>,
) -> Result<CallOutput, Stop> {
    // A malformed whole input is refused before anything is sent; words need the schema first.
    let whole = call.input.as_deref().map(input::whole).transpose()?;
    let mut session = Session::open(settings).await?;
    let entry = session.entry(&call.capability).cloned();
    if let Some(skill) = entry.as_ref().filter(|e| e.is_skill()) {
        let markdown = skill
            .body
            .as_ref()
            .map(|b| b.markdown.as_str())
            .filter(|m| !m.is_empty());
        return Ok(CallOutput::Text(
            markdown.unwrap_or(&skill.describe).to_owned(),
        ));
    }
    let schema = entry.as_ref().map_or(&Value::Null, |e| &e.io.input);
    let read = entry.as_ref().is_some_and(|e| e.grants.is_read());
    // Somebody else's server may take more than its schema names.
    let provenance = entry.as_ref().map(|e| &e.provenance);
    let ours = provenance.is_some_and(|word| Provenance::is_ours(word));
    let mut input = match whole {
        Some(input) => input,
        None => input::from_words(&call.words, schema, read && ours)?,
    };
    if let Some(talk) = entry.as_ref().and_then(|entry| entry.conversation.as_ref())
        && !input.contains_key(&talk.message)
        && chat::can_talk(&call.printing)
        && let Some(first) = chat::ask(&call.capability).await
    {
        input.insert(talk.message.clone(), first.into());
    }
    built.replace(BuiltCall {
        input: input.clone(),
        takes: Takes::of(schema),
        is_read: read,
    });
    let body = request(call, input, entry.as_ref().is_some_and(|e| e.long_running));
    let until = Instant::now() + call.patience.length();
    let mut approved = None;
    loop {
        stage.replace(CallStage::Calling { read });
        let answer = invoke(&mut session, &body, read).await?;
        if let Some(handle) = answer.run() {
            stage.replace(CallStage::Running(handle.run_id.clone()));
            let run = handle.clone();
            let begins = format!("it begins ({})", run.run_id);
            return run::follow(
                &mut session,
                &run.run_id,
                Some(&run.status_url),
                Some(&begins),
            )
            .await
            .map(CallOutput::Followed);
        }
        let Some(id) = answer.pending() else {
            // A program gets the gateway's answer as it is.
            return match answer
                .failure()
                .filter(|_| entry.is_none() && !call.printing.json)
            {
                Some(refused) => Err(session.meant(&call.capability, refused)),
                None => Ok(CallOutput::Answer(answer)),
            };
        };
        if approved.as_ref() == Some(&id) {
            let why = format!("the gateway says that {id} is approved and asks for it again");
            return Err(Stop::new(Exit::Failed, "not_a_gateway", why).item(id.as_str()));
        }
        if !call.patience.length().is_zero() {
            approval::announce(call.capability.as_str(), &id);
        }
        match decided(&mut session, &id, until, stage).await? {
            Decided::Ran(output) => return Ok(output),
            Decided::Approved => approved = Some(id),
        }
    }
}

/// What came of a request.
enum Decided {
    Ran(CallOutput),
    /// The caller makes the call.
    Approved,
}

/// Waits until the owner has decided, and follows what the gateway does on that.
async fn decided(
    session: &mut Session,
    id: &PendingId,
    until: Instant,
    stage: &RefCell<CallStage>,
) -> Result<Decided, Stop> {
    let mut is_followed = false;
    loop {
        stage.replace(CallStage::Waiting(id.clone()));
        let run = match approval::wait(session, id, until).await? {
            Decision::Runs(run) => run,
            Decision::Approved => return Ok(Decided::Approved),
            Decision::Added(source) => {
                return Ok(Decided::Ran(CallOutput::Text(extension::added(&source))));
            }
            Decision::Ran(answer) if is_followed => {
                return Ok(Decided::Ran(CallOutput::Followed(*answer)));
            }
            Decision::Ran(answer) => return Ok(Decided::Ran(CallOutput::Answer(*answer))),
        };
        stage.replace(CallStage::Running(run.clone()));
        let begins = format!("approved; it begins ({run})");
        match run::follow(session, &run, None, Some(&begins)).await {
            Ok(_) => is_followed = true,
            // It ended since it was named, or the gateway started anew: the request knows more.
            Err(stop) if stop.code == "session_expired" => sleep(approval::PAUSE).await,
            // A gateway that comes back knows the request; the run may be forgotten with the old one.
            Err(stop) if run::is_away(&stop) => {
                let next = command::line(format_args!("wait {id}"));
                return Err(stop.next(next).item(id.as_str()));
            }
            Err(stop) => return Err(stop),
        }
    }
}

/// The body of the call. `onApproval` lets the owner's yes do it, whether or not this command still waits
/// (docs/design.md#approvals).
fn request(call: &Call, input: Input, long_running: bool) -> Value {
    let mut body = Map::new();
    body.insert("id".into(), json!(call.capability));
    body.insert("input".into(), Value::Object(input));
    body.insert("onApproval".into(), "run".into());
    // Each command opens a session of its own: a token would only lie in a transcript.
    body.insert("token".into(), false.into());
    if let Some(purpose) = &call.purpose {
        body.insert("purpose".into(), purpose.as_str().into());
    }
    if long_running {
        body.insert("async".into(), true.into());
    }
    Value::Object(body)
}

/// Sends a call.
pub(crate) async fn invoke(
    session: &mut Session,
    body: &Value,
    read: bool,
) -> Result<Answer, Stop> {
    let request = Request::post(session.gateway.path(Route::Invoke), body).within(CALL);
    let reply = session.send(request).await.map_err(|failure| {
        let stop = Stop::from(failure);
        match stop.done {
            Done::Unknown if read => stop.done(Done::None),
            Done::Unknown => stop
                .next("stop; tell the owner: look in `plexusctl audit tail` whether it was done"),
            _ => stop,
        }
    })?;
    Ok(Answer::of_reply(&reply)?.seen_in(session))
}

/// The end of a command that asks for a run which the gateway does not know: it never was this agent's, or was forgotten
/// when the gateway ended. Whether anything was done is not known then.
fn forgotten(stop: Stop) -> Stop {
    match stop.code == "session_expired" {
        true => Stop {
            code: "not_found".to_owned(),
            ..stop.done(Done::Unknown)
        },
        false => stop,
    }
}

/// What an earlier call left behind.
enum Item {
    Run(RunId),
    Request(PendingId),
}

fn item_of(text: &str) -> Result<Item, Stop> {
    if let Ok(run) = text.parse() {
        return Ok(Item::Run(run));
    }
    let request = text.parse().map(Item::Request);
    request.map_err(|_| match plexus_mcp::broken_id(text) {
        Some(why) => Stop::usage(why).next(format!(
            "copy the whole id from what the call printed, or see what waits: {}",
            command::line("wait")
        )),
        None => Stop::usage(format!(
            "{text:?} is neither a request (pend_…) nor a run (run_…)"
        )),
    })
}

async fn take_up(
    settings: &Settings,
    item: &str,
    patience: Patience,
    stage: &RefCell<CallStage>,
) -> Result<CallOutput, Stop> {
    let id = match item_of(item)? {
        Item::Run(run) => {
            let opened = Session::open(settings).await;
            let mut session = opened.map_err(|stop| approval::unheard(stop, run.as_str()))?;
            stage.replace(CallStage::Running(run.clone()));
            match run::follow(&mut session, &run, None, None).await {
                // A run is forgotten when the gateway ends; the request that was approved for it is kept.
                Err(stop) if stop.code == "session_expired" => {
                    let item = run.item();
                    let kept = approval::look(&mut session, &item, 0).await;
                    kept.map_err(|_| forgotten(stop))?;
                    item
                }
                ended => return ended.map(CallOutput::Answer),
            }
        }
        Item::Request(id) => id,
    };
    let mut session = approval::reached(settings, &id).await?;
    stage.replace(CallStage::Waiting(id.clone()));
    if !patience.length().is_zero()
        && let Standing::Waits = approval::look(&mut session, &id, 0).await?
    {
        approval::announce("an earlier call", &id);
    }
    let until = Instant::now() + patience.length();
    for _ in 0..RESULT_LOOKS {
        match decided(&mut session, &id, until, stage).await? {
            Decided::Ran(output) => return Ok(output),
            // Its run may still be under way; only the gateway knows whether there is to be one.
            Decided::Approved if Instant::now() < until => sleep(Duration::from_secs(1)).await,
            Decided::Approved => break,
        }
    }
    Err(Stop::new(
        Exit::Waiting,
        "approved",
        format!("{id} is approved; it has no result yet"),
    )
    // Its run may be under way, or have been made for the first caller.
    .done(Done::Unknown)
    .next("run the same call again: it is answered from the approval, and nothing is done twice")
    .item(id.as_str()))
}
