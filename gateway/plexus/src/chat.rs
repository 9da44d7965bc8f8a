//! A conversation at a terminal: after the first turn, which is a call like any other, each line is a further message.
//!
//! ```text
//! first turn ─▶ line ─▶ sent ─▶ its run, as it streams ─▶ what came of it ─▶ line …
//!                 │              └─ Ctrl-C: the turn is cancelled; again: leave
//!                 │              └─ refused: the next line may help
//!                 ├─ end of input, or Ctrl-C twice: leave ─▶ the conversation is ended
//!                 └─ the gateway is away: stop ─▶ the conversation stays open
//! ```
//! Invariants: a message is sent under one id until the gateway has answered, so that it becomes one turn; a person who
//! leaves ends the conversation, for what is open and forgotten is nobody's wish; a failure ends no conversation, for the
//! owner's approval is still good for it; a line that became no message is dropped here, and never left to the shell.
//!
//! Must not know: what a turn does.

use crate::{
    approval, command,
    gateway::Route,
    output::{Answer, Printing, RunHandle},
    run,
    session::{Session, refusal},
    settings::Settings,
    warning,
};
use line::{Typed, can_edit, read_message, typed_meanwhile};
use plexus_client::{Done, Exit, Request, Stop, out, text};
use plexus_protocol::{CapabilityId, RunId, body::Conversation, words::counted};
use serde::Deserialize;
use serde_json::json;
use std::{
    io::{self, IsTerminal as _},
    pin::pin,
    time::Duration,
};
use tokio::time::{Instant, sleep};

mod line;

/// How soon after the first a second Ctrl-C leaves.
const SECOND_PRESS: Duration = Duration::from_secs(3);
/// How long the gateway has to record a turn.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How often a message whose answer was lost is sent again.
const TRIES: u32 = 3;

/// The gateway's answer to a message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageReceipt {
    turns_left: u32,
    run: Option<RunHandle>,
}

impl MessageReceipt {
    /// The run of its turn; none where that is forgotten.
    pub(crate) fn run(self) -> Option<RunId> {
        self.run.map(|run| run.run_id)
    }
}

/// How a turn ended at this terminal.
enum TurnOutcome {
    Answer(Box<Answer>),
    Left,
}

/// Whether somebody is there to talk.
pub(crate) fn can_talk(printing: &Printing) -> bool {
    let whole = *printing == Printing::default();
    let kind = std::env::var_os("TERM").unwrap_or_default();
    whole && can_edit(&kind) && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for the first message.
pub(crate) async fn ask(capability: &CapabilityId) -> Option<String> {
    out::say(&format!("{capability}: what is it about?"));
    match read_message(String::new()).await {
        Typed::Words(words) if !words.trim().is_empty() => Some(words),
        Typed::Words(_) | Typed::CtrlC | Typed::End => None,
    }
}

/// What the first turn came to.
pub(crate) struct First<'a> {
    pub(crate) answer: &'a Answer,
    /// Whether what it said was shown as it came.
    pub(crate) is_shown: bool,
}

/// Goes on after the first turn, until its turns or its person have had enough.
pub(crate) async fn go_on(
    settings: &Settings,
    capability: &CapabilityId,
    first: First<'_>,
    conversation: RunId,
) -> Result<Exit, Stop> {
    let mut session = Session::open(settings).await?;
    let mut changes = first.answer.change_set().map(str::to_owned);
    let talked = talk(settings, &mut session, &first, &conversation, &mut changes).await;
    drop_unsent();
    if let Err(stop) = talked {
        bring(capability, changes.as_deref());
        return Err(kept_open(stop, &conversation));
    }
    // One that took its last turn, or that somebody ended, is ended already.
    let ended = approval::withdraw(&mut session, &conversation.item()).await;
    if let Err(stop) = ended.as_ref()
        && stop.code != "unknown_capability"
    {
        out::say(&stop.to_string());
    }
    out::say("the conversation is over");
    bring(capability, changes.as_deref());
    Ok(Exit::Ok)
}

/// Shows one turn of a conversation that stays open, and how it goes on.
pub(crate) fn show_turn(turn: &First<'_>, open: &Conversation) -> Result<Exit, Stop> {
    show(turn.answer, turn.is_shown)?;
    if let Some(capability) = turn.answer.capability() {
        bring(&capability, turn.answer.change_set());
    }
    say_left(open);
    Ok(Exit::Ok)
}

/// Says how a conversation goes on after a turn.
pub(crate) fn say_left(open: &Conversation) {
    out::say(&match open.turns_left {
        0 => "that was its last turn".to_owned(),
        left => format!(
            "{}; go on: {}",
            turns(left),
            command::line(format_args!("continue {} \"…\"", open.run_id))
        ),
    });
}

fn turns(left: u32) -> String {
    format!("{} left", counted(left, "turn"))
}

/// Whether another message, or the same one later, may be taken where this one was refused.
fn is_passing(stop: &Stop) -> bool {
    let passing = [
        "paused",
        "outcome_unknown",
        "busy",
        "rate_limited",
        "source_unavailable",
        "schema_validation_failed",
    ];
    passing.contains(&stop.code.as_str())
}

/// The end of this command that ends no conversation: where neither the gateway nor a turn that is under way has a next step, it
/// is the command that continues the conversation.
fn kept_open(mut stop: Stop, conversation: &RunId) -> Stop {
    if !stop.next.is_empty() {
        return stop;
    }
    if stop.done == Done::Unknown {
        stop.why += "; your message may have been taken: ask before you say it again";
    }
    stop.next(command::line(format_args!("continue {conversation} \"…\"")))
}

/// Turn by turn, until there are no more or the person leaves.
async fn talk(
    settings: &Settings,
    session: &mut Session,
    first: &First<'_>,
    conversation: &RunId,
    changes: &mut Option<String>,
) -> Result<(), Stop> {
    let mut left = first
        .answer
        .conversation()
        .map_or(0, |open| open.turns_left);
    show(first.answer, first.is_shown)?;
    while left > 0 {
        tell(left);
        let Some(words) = next_message().await else {
            break;
        };
        let taken = match send(session, conversation, RunId::fresh().as_str(), &words).await {
            Ok(taken) => taken,
            Err(stop) if is_passing(&stop) => {
                out::say(&stop.to_string());
                continue;
            }
            Err(stop) => return Err(stop),
        };
        left = taken.turns_left;
        let Some(handle) = taken.run else {
            out::say("that message was taken before; its answer is no longer kept");
            continue;
        };
        match follow(settings, session, &handle.run_id).await {
            Err(stop) if is_passing(&stop) => out::say(&stop.to_string()),
            Err(stop) => return Err(stop),
            Ok(TurnOutcome::Left) => break,
            Ok(TurnOutcome::Answer(answer)) => {
                show(&answer, true)?;
                *changes = answer.change_set().map(str::to_owned).or(changes.take());
                left = answer.conversation().map_or(left, |open| open.turns_left);
            }
        }
    }
    Ok(())
}

/// Drops the lines that came too late to be a message, which the shell would run as commands.
fn drop_unsent() {
    let unsent = typed_meanwhile().unwrap_or_default().lines().count();
    if unsent > 0 {
        out::say(&format!(
            "lines that came too late and were not sent: {unsent}"
        ));
    }
}

/// The next message; none where the person leaves.
async fn next_message() -> Option<String> {
    let mut pressed: Option<Instant> = None;
    loop {
        match read_message(typed_meanwhile()?).await {
            Typed::Words(words) if words.trim().is_empty() => {}
            Typed::Words(words) => return Some(words),
            Typed::End => return None,
            Typed::CtrlC if pressed.is_some_and(|at| at.elapsed() < SECOND_PRESS) => return None,
            Typed::CtrlC => {
                pressed = Some(Instant::now());
                out::say("press Ctrl-C again to leave; the conversation ends then");
            }
        }
    }
}

/// Sends a message until the gateway has said what became of it.
pub(crate) async fn send(
    session: &mut Session,
    conversation: &RunId,
    message: &str,
    words: &str,
) -> Result<MessageReceipt, Stop> {
    let body = json!({"runId": conversation, "messageId": message, "text": words});
    let mut tries = 0;
    loop {
        tries += 1;
        let path = session.gateway.path(Route::InvokeInput);
        let request = Request::post(path, &body).within(TAKEN_WITHIN);
        match session.send(request).await {
            Ok(reply) if reply.is_success() => return Ok(reply.json()?),
            Ok(reply) => {
                let stop = refusal(&reply);
                let again = stop.code == "busy" || stop.code == "session_expired";
                if !again || tries == TRIES {
                    return Err(stop);
                }
            }
            Err(failure) if tries == TRIES => return Err(Stop::from(failure).done(Done::Unknown)),
            Err(_) => {}
        }
        sleep(approval::PAUSE).await;
        session.reopen().await?;
    }
}

/// Follows a turn. Ctrl-C once cancels it, twice leaves.
async fn follow(
    settings: &Settings,
    session: &mut Session,
    turn: &RunId,
) -> Result<TurnOutcome, Stop> {
    let answer = |answer| TurnOutcome::Answer(Box::new(answer));
    let mut following = pin!(run::follow(session, turn, None, None));
    tokio::select! {
        ended = &mut following => return ended.map(answer),
        _ = tokio::signal::ctrl_c() => {}
    }
    run::cancel(&mut Session::open(settings).await?, turn).await?;
    out::say("\nstopping this turn; press Ctrl-C again to leave");
    tokio::select! {
        ended = following => ended.map(answer),
        _ = tokio::signal::ctrl_c() => Ok(TurnOutcome::Left),
    }
}

/// Shows what a turn came to. What it said was `streamed` already, or is told here.
fn show(answer: &Answer, streamed: bool) -> Result<(), Stop> {
    if let Some(stop) = answer.failure() {
        out::say(&stop.to_string());
        return Ok(());
    }
    let output = answer.output();
    match output["text"].as_str() {
        Some(_) if streamed => {}
        Some(said) => out::line(said)?,
        None => out::line(&output.to_string())?,
    }
    for warning in output["warnings"].as_array().into_iter().flatten() {
        out::say(&warning::line(warning));
    }
    let changes = &output["changes"];
    if let (Some(id), Some(added), Some(edited), Some(removed)) = (
        changes["id"].as_str(),
        changes["added"].as_u64(),
        changes["edited"].as_u64(),
        changes["removed"].as_u64(),
    ) {
        let renamed = changes["renamed"].as_u64().unwrap_or_default();
        let added = added.saturating_sub(renamed);
        let removed = removed.saturating_sub(renamed);
        let renames = match renamed {
            0 => String::new(),
            renamed => format!(", {renamed} renamed"),
        };
        out::say(&format!(
            "changes so far, in the copy alone: {added} added, {edited} edited, {removed} removed{renames} ({})",
            text::line(id)
        ));
    }
    Ok(())
}

fn tell(left: u32) {
    out::say(&format!("({}; Ctrl-D leaves)", turns(left)));
}

/// Says how what was changed comes out of the copy.
fn bring(capability: &CapabilityId, changes: Option<&str>) {
    let source = capability.as_str().split('.').next().unwrap_or_default();
    if let Some(changes) = changes {
        out::say(&format!(
            "bring its changes into the folder: {}",
            command::line(format_args!(
                "{source}.apply changes={}",
                text::line(changes)
            ))
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_refusal_keeps_the_prompt_and_others_do_not() {
        let stop = |code: &str| Stop::new(Exit::Failed, code, "why");
        for code in ["paused", "outcome_unknown", "busy", "source_unavailable"] {
            assert!(is_passing(&stop(code)), "{code}");
        }
        for code in ["not_accepting_input", "unreachable", "token_revoked"] {
            assert!(!is_passing(&stop(code)), "{code}");
        }
    }

    #[test]
    fn lost_gateway_leaves_the_conversation_to_continue() {
        let run = RunId::fresh();
        let stop = |code| Stop::new(Exit::Unreachable, code, "why");
        let lost = kept_open(stop("unreachable"), &run);
        assert_eq!(lost.next, format!("plexus continue {run} \"…\""));
        assert_eq!(lost.why, "why");
        let unsure = kept_open(stop("connection_lost").done(Done::Unknown), &run);
        assert_eq!(unsure.next, lost.next);
        assert!(unsure.why.contains("may have been taken"), "{unsure}");
        // What the gateway says, and the command for a turn that is under way.
        for code in ["not_accepting_input", "connection_lost"] {
            let over = kept_open(stop(code).next("as it was"), &run);
            assert_eq!((&*over.next, &*over.why), ("as it was", "why"), "{code}");
        }
    }
}
