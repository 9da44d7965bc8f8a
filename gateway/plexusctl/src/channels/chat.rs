//! `plexusctl channels chat` on a terminal: channels, messages and what is being written, live, by keyboard.
//!
//! ```text
//! keys ─────────────▶ ┌───────┐ ─▶ texts ─────▶ gateway ─▶ source ─▶ relay
//! the owner's feed ─▶ │ model │ ─▶ questions ─▶
//! answers ──────────▶ └───────┘ ─▶ screen, and the file of what was read
//! ```
//! Invariants: the terminal is given back as it was, however this ends; a gateway or relay that hangs does not hold up the
//! keys; nobody leaves before it is told what became of what they wrote, or that it is not known.

mod channel;
mod model;
mod read;
mod view;

use super::{find, found::sources, shown};
use crate::{
    owner::{Desk, Owner},
    screen::{Ends, Pending, Screen, keys, lines::Styles, polled, system},
};
use channel::{Channel, OwnText, TextStatus};
use crossterm::event::{Event, KeyEventKind};
use model::{Answer, Ask, ChatAction, Key, Model};
use plexus_client::{Done, Exit, Stop, out, shell, text};
use plexus_owner::channels::Say;
use plexus_owner_client::Feed;
use plexus_protocol::SourceId;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How often the channels are listed although nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that an answer is waited for.
const ANSWER: Duration = Duration::from_secs(70);
/// The longest that a text under way is waited for by who leaves.
const LEAVING: Duration = Duration::from_secs(5);

/// A question or a text that is under way, and what it came to.
type AnsweredAsk = (Ask, Result<Answer, Stop>);
type SentText = (Key, Result<String, Stop>);

/// Shows and sends until the person ends it.
pub(super) async fn run(
    desk: &Desk,
    source: Option<SourceId>,
    channel: Option<String>,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Say>()?;
    if !desk.can_ask() {
        let why = "the chat needs a terminal, and prints no JSON";
        let next = channel.map_or_else(
            || "plexusctl channels list".to_owned(),
            |channel| {
                let of = source.map_or_else(String::new, |source| format!("--source {source} "));
                format!("plexusctl channels {of}read {}", shell::quote(&channel))
            },
        );
        return Err(Stop::usage(why).next(next));
    }
    // Asked once before the screen is taken: a refusal is said where it can be read afterwards.
    let mut owner = desk.open().await?;
    let wanted = match channel {
        Some(channel) => Some(own(&mut owner, &channel, source.as_ref()).await?),
        // An empty screen would not say why there is nobody to speak as.
        None => {
            sources(&mut owner, source.as_ref()).await?;
            None
        }
    };
    drop(owner);
    let mut model = Model::new(wanted, read::load(&desk.home)?);
    let mut screen = Screen::open().map_err(system)?;
    let mut saying = None;
    let ended = show(desk, source.as_ref(), &mut screen, &mut model, &mut saying).await;
    drop(screen);
    let told = leave(&mut model, saying).await;
    ended.and_then(|exit| told.map(|()| exit))
}

/// A channel in which the owner speaks.
async fn own(owner: &mut Owner, channel: &str, source: Option<&SourceId>) -> Result<Key, Stop> {
    let found = find(owner, channel, source).await?;
    if found.peer {
        let (name, peer) = (found.shown(), &found.source);
        let why = format!("the peer {peer} is a member of {name}, and you are not");
        let next = found.command("read");
        return Err(Stop::new(Exit::Failed, "not_a_member", why).next(next));
    }
    Ok((found.source, found.channel))
}

async fn show<'d>(
    desk: &'d Desk,
    source: Option<&'d SourceId>,
    screen: &mut Screen,
    model: &mut Model,
    saying: &mut Pending<'d, SentText>,
) -> Result<Exit, Stop> {
    let styles = Styles::of_environment();
    let (mut typed, mut feed, mut ends) = (keys(), Feed::new(), Ends::catch()?);
    let mut asking: Pending<'_, AnsweredAsk> = None;
    let mut again = Instant::now() + LOOK_EVERY;
    loop {
        let mut is_seen = false;
        let drawn = screen.draw(|frame| is_seen = view::draw(frame, model, styles));
        drawn.map_err(system)?;
        if is_seen {
            model.seen();
        }
        if std::mem::take(&mut model.is_read_anew)
            && let Err(stop) = read::save(&desk.home, model.marks())
        {
            model.note = Some(text::line(&stop.why));
        }
        if asking.is_none()
            && let Some(ask) = model.next_ask()
        {
            asking = Some(Box::pin(asked(desk, source, ask)));
        }
        if saying.is_none()
            && let Some((key, text)) = model.next_send()
        {
            *saying = Some(Box::pin(said(desk, key, text)));
            continue;
        }
        tokio::select! {
            first = typed.recv() => {
                let Some(first) = first else {
                    return Ok(Exit::Ok);
                };
                // A key that is held down is many: they are all taken before the next picture.
                let mut next = Some(first);
                while let Some((_, event)) = next {
                    if press(model, event) == ChatAction::Quit {
                        return Ok(Exit::Ok);
                    }
                    next = typed.try_recv().ok();
                }
            }
            heard = feed.next(&desk.home) => {
                match heard {
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => model.lost = Some(stop.why),
                    Ok(()) => {}
                }
                model.look();
            }
            (ask, answer) = polled(&mut asking) => {
                asking = None;
                again = Instant::now() + LOOK_EVERY;
                match answer {
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    answer => model.answered(&ask, answer),
                }
            }
            (key, end) = polled(saying) => {
                *saying = None;
                model.sent(&key, end);
            }
            () = sleep_until(again) => {
                model.look();
                again = Instant::now() + LOOK_EVERY;
            }
            () = ends.next() => return Ok(Exit::Ok),
        }
    }
}

fn press(model: &mut Model, event: Event) -> ChatAction {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => return model.key(key),
        Event::Paste(pasted) => model.paste(&pasted),
        // The next drawing asks for the size.
        _ => {}
    }
    ChatAction::Nothing
}

async fn asked(desk: &Desk, source: Option<&SourceId>, ask: Ask) -> AnsweredAsk {
    let answer = async {
        let mut owner = desk.open().await?;
        let ((source, channel), cursor, limit) = match &ask {
            Ask::List => {
                let mut all = super::all(&mut owner, source).await?;
                // In those of a peer the owner does not speak.
                all.channels.retain(|channel| !channel.peer);
                all.away.retain(|away| !away.peer);
                return Ok(Answer::Channels(all));
            }
            Ask::Page(key, cursor, limit) => (key, cursor, *limit),
            Ask::Count(key, after) => (key, after, model::COUNTED),
        };
        let page = owner.call(&cursor.page(source, channel, limit)).await?;
        Ok(Answer::Messages(page))
    };
    let answer = timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(late()));
    (ask, answer)
}

/// Sends a text; the id of its message.
async fn said(desk: &Desk, key: Key, text: String) -> SentText {
    let send = async {
        let (source, channel) = key.clone();
        let say = Say {
            source,
            channel,
            text,
        };
        let reply = desk.open().await?.call(&say).await?;
        Ok(reply.output.message.unwrap_or_default())
    };
    let end = timeout(ANSWER, send).await;
    let end = end.unwrap_or_else(|_| Err(late().done(Done::Unknown)));
    (key, end)
}

fn late() -> Stop {
    let why = format!("no answer within {} s", ANSWER.as_secs());
    Stop::new(Exit::Failed, "deadline_exceeded", why)
}

/// Says, on the screen that stays, what became of texts that the history does not have.
///
/// # Errors
/// That one was not sent, or that this is not known.
async fn leave(model: &mut Model, mut saying: Pending<'_, SentText>) -> Result<(), Stop> {
    if saying.is_some()
        && let Ok((key, end)) = timeout(LEAVING, polled(&mut saying)).await
    {
        model.sent(&key, end);
    }
    for channel in model
        .channels
        .iter()
        .filter(|one| !one.draft.trim().is_empty())
    {
        out::say(&format!(
            "what you were writing to {} was not sent:",
            name_of(channel)
        ));
        for line in shown::indented(&channel.draft) {
            out::say(&line);
        }
    }
    let mut wrong = None;
    for (channel, own) in model.unsent() {
        let Some(stop) = stop_of(channel, own) else {
            continue;
        };
        if let Some(before) = wrong.replace(stop) {
            out::say(&before.to_string());
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// The end of a text that the relay is not known to have; none where it has it.
fn stop_of(channel: &Channel, own: &OwnText) -> Option<Stop> {
    let (name, (source, id)) = (name_of(channel), &channel.key);
    let begins = text::short(&own.text, 40);
    let (code, done, said) = match &own.fate {
        TextStatus::Taken(_) => return None,
        TextStatus::Waiting => ("not_sent", Done::None, "it was not sent".to_owned()),
        TextStatus::NotSent(why) | TextStatus::Barred(why) | TextStatus::Refused(why) => {
            let said = format!("it was not sent: {}", text::line(why));
            ("not_sent", Done::None, said)
        }
        TextStatus::UnderWay => ("no_answer", Done::Unknown, "no answer came".to_owned()),
        TextStatus::Doubt(why) => ("no_answer", Done::Unknown, text::line(why)),
    };
    let why = format!("your message to {name}, \"{begins}\": {said}");
    let stop = Stop::new(Exit::Failed, code, why).done(done);
    Some(stop.next(format!("plexusctl channels --source {source} read {id}")))
}

/// Its name, in a line that stays.
fn name_of(channel: &Channel) -> String {
    let name = channel.name.as_deref();
    name.map_or_else(|| "(a channel)".to_owned(), shown::quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_an_answer_is_not_called_unsent() {
        let source = SourceId::parse("talk").unwrap();
        let mut channel = Channel::new((source, "C".to_owned()));
        channel.draft.push_str("hello");
        channel.say();
        let lost = || "lost".to_owned();
        for (fate, end) in [
            (TextStatus::Waiting, Some(("not_sent", Done::None))),
            (TextStatus::NotSent(lost()), Some(("not_sent", Done::None))),
            (TextStatus::Barred(lost()), Some(("not_sent", Done::None))),
            (TextStatus::Refused(lost()), Some(("not_sent", Done::None))),
            (TextStatus::UnderWay, Some(("no_answer", Done::Unknown))),
            (
                TextStatus::Doubt(lost()),
                Some(("no_answer", Done::Unknown)),
            ),
            (TextStatus::Taken(lost()), None),
        ] {
            channel.own[0].fate = fate;
            let stop = stop_of(&channel, &channel.own[0]);
            assert_eq!(stop.as_ref().map(|stop| (&*stop.code, stop.done)), end);
        }
    }
}
