//! `plexusctl channels unknown`: messages that were kept while the relay did not answer. Some wait for it; others were refused
//! when they went out. A refused one stays, with its text, until it is sent again or forgotten.

use super::{found, shown};
use crate::owner::{Desk, Owner};
use plexus_client::{Exit, Stop, text};
use plexus_owner::channels::{
    Away, Forget, ListUnsent, Say, Unsent, UnsentMessage, WaitingMessage,
};
use plexus_protocol::SourceId;
use serde::Serialize;

/// What becomes of a message that waits.
const ONCE: &str = "it is sent once the relay answers";

/// Those of all the owner's own sources.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct AllUnsent {
    unsent: Vec<SourcedMessage<UnsentMessage>>,
    more: u64,
    waiting: Vec<SourcedMessage<WaitingMessage>>,
    more_waiting: u64,
    away: Vec<Away>,
    /// Sources that are not away.
    #[serde(skip)]
    answered: usize,
}

#[derive(Serialize)]
struct SourcedMessage<M> {
    #[serde(flatten)]
    message: M,
    source: SourceId,
}

pub(super) async fn run(
    desk: &Desk,
    source: Option<&SourceId>,
    again: Option<String>,
    forget: Option<String>,
) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let all = all(&mut owner, source).await?;
    let Some(id) = again.as_ref().or(forget.as_ref()) else {
        let exit = desk.show(&all, || as_text(&all))?;
        return Ok(match all.answered {
            0 if !all.away.is_empty() => Exit::Failed,
            _ => exit,
        });
    };
    let mut unsent = all.unsent.iter();
    let Some(SourcedMessage { message, source }) = unsent.find(|one| one.message.id == *id) else {
        return Err(unlisted(&all, id));
    };
    let forget = Forget {
        source: source.clone(),
        message: id.clone(),
    };
    if again.is_some() {
        desk.ask_for_person::<Say>()?;
        let Some(text) = message.text.clone() else {
            let why = "the text of this message is not known: its key is gone";
            return Err(Stop::new(Exit::Failed, "no_text", why.to_owned()));
        };
        let say = Say {
            source: source.clone(),
            channel: message.channel.clone(),
            text,
        };
        match owner.call(&say).await {
            Ok(_) => {}
            // Its copy waits: the first one would only be sent again.
            Err(stop) if stop.reason.as_deref() == Some("kept") => {
                owner.call(&forget).await?;
                return Err(stop);
            }
            Err(stop) => return Err(stop),
        }
    }
    let reply = owner.call(&forget).await?;
    desk.show(&reply, || match again.is_some() {
        true => format!(
            "sent to {}",
            channel(message.name.as_deref(), &message.channel)
        ),
        false => "it is listed no more".to_owned(),
    })
}

async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<AllUnsent, Stop> {
    let mut all = AllUnsent::default();
    for source in found::sources(owner, source).await? {
        let asked = ListUnsent { source };
        let answer = owner.call(&asked).await;
        match answer {
            Ok(answer) => all.take(answer),
            Err(stop) if is_of_gateway(&stop) => return Err(stop),
            Err(stop) => all.away.push(Away {
                source: asked.source,
                why: stop.why,
                peer: false,
            }),
        }
    }
    found::say_why_away(owner, &mut all.away).await;
    Ok(all)
}

/// Whether the gateway itself answers no more, or not this caller; else it is one source of several that does not.
fn is_of_gateway(stop: &Stop) -> bool {
    matches!(stop.exit, Exit::Refused | Exit::Unreachable)
        || matches!(&*stop.code, "connection_lost" | "no_answer")
}

impl AllUnsent {
    /// Takes over what a source answers.
    fn take(&mut self, answer: Unsent) {
        let Unsent {
            unsent,
            more,
            waiting,
            more_waiting,
            source,
        } = answer;
        self.answered += 1;
        self.more = self.more.saturating_add(more);
        self.more_waiting = self.more_waiting.saturating_add(more_waiting);
        self.unsent.extend(of_source(unsent, &source));
        self.waiting.extend(of_source(waiting, &source));
    }
}

fn of_source<M>(messages: Vec<M>, source: &SourceId) -> impl Iterator<Item = SourcedMessage<M>> {
    messages.into_iter().map(|message| SourcedMessage {
        message,
        source: source.clone(),
    })
}

/// Why a message is not among the refused ones.
fn unlisted(all: &AllUnsent, id: &str) -> Stop {
    let shown = text::line(id);
    let list = "plexusctl channels unknown";
    if all.waiting.iter().any(|one| one.message.id == id) {
        let why = format!("message {shown} waits; {ONCE}");
        return Stop::new(Exit::Failed, "kept", why).next(list);
    }
    if let Some(away) = all.away.first() {
        let next = format!("plexusctl sources test {}", away.source);
        let why = shown::away_line(away);
        return Stop::new(Exit::Failed, "source_unavailable", why).next(next);
    }
    let why = format!("no message {shown} was kept and refused");
    Stop::new(Exit::Failed, "not_found", why).next(list)
}

fn as_text(all: &AllUnsent) -> String {
    let mut lines = refused(all);
    for SourcedMessage { message, .. } in &all.waiting {
        let at = shown::moment(&message.at);
        let to = channel(message.name.as_deref(), &message.channel);
        lines.push(format!("{at}  waits in {to}; {ONCE}"));
        let text = message.text.as_deref();
        lines.extend(words(text, "a client of before kept it"));
    }
    if all.more_waiting > 0 {
        lines.push(format!("and {} more that wait", all.more_waiting));
    }
    lines.extend(all.away.iter().map(shown::away_line));
    if lines.is_empty() {
        lines.push("no message was kept".to_owned());
    }
    lines.join("\n")
}

/// The refused ones, each with its next steps.
fn refused(all: &AllUnsent) -> Vec<String> {
    let mut lines = Vec::new();
    for SourcedMessage { message, .. } in &all.unsent {
        let why = match &*message.why {
            "archived" => "the channel is archived: unarchive it first",
            "not_found" => "you are no member of it any more: a member adds you first",
            why => why,
        };
        let end = match message.may_be_there {
            true => "REFUSED, and may have arrived before: ask a member",
            false => "NOT SENT",
        };
        let (at, to) = (
            shown::moment(&message.at),
            channel(message.name.as_deref(), &message.channel),
        );
        lines.push(format!("{at}  to {to}: {end} ({})", text::line(why)));
        lines.extend(words(message.text.as_deref(), "its key is gone"));
        let id = text::line(&message.id);
        lines.push(format!(
            "  send it again:    plexusctl channels unknown --again {id}"
        ));
        lines.push(format!(
            "  list it no more:  plexusctl channels unknown --forget {id}"
        ));
    }
    if all.more > 0 {
        let more = all.more;
        lines.push(format!("and {more} more, once these are sent or forgotten"));
    }
    lines
}

/// What a message says, each line indented; why that is not known in brackets.
fn words(text: Option<&str>, why: &str) -> Vec<String> {
    match text {
        Some(text) => shown::indented(text),
        None => vec![format!("    [its text is not known: {why}]")],
    }
}

fn channel(name: Option<&str>, id: &str) -> String {
    let id = text::line(id);
    match name {
        Some(name) => format!("{} ({id})", shown::quoted(name)),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refused_message_is_listed_with_its_text_and_next_steps() {
        let all = json!({"more": 2, "source": "channels", "unsent": [
            {"id": "M", "channel": "C", "name": "plans\n2026", "at": "2026-11-25T05:31:38.1Z",
             "text": "one\ntwo", "why": "archived", "mayBeThere": false},
            {"id": "N", "channel": "D", "at": "2026-11-25T05:31:39Z", "why": "not_found", "mayBeThere": true},
        ]});
        let mut listed = AllUnsent::default();
        listed.take(serde_json::from_value(all).unwrap());
        assert_eq!(
            as_text(&listed),
            "2026-11-25 05:31:38  to \"plans\\n2026\" (C): NOT SENT (the channel is archived: unarchive it first)\n    \
             one\n    two\n  \
             send it again:    plexusctl channels unknown --again M\n  \
             list it no more:  plexusctl channels unknown --forget M\n\
             2026-11-25 05:31:39  to D: REFUSED, and may have arrived before: ask a member (you are no member of it any more: \
             a member adds you first)\n    \
             [its text is not known: its key is gone]\n  \
             send it again:    plexusctl channels unknown --again N\n  \
             list it no more:  plexusctl channels unknown --forget N\n\
             and 2 more, once these are sent or forgotten"
        );
    }

    #[test]
    fn message_that_waits_and_source_that_is_away_are_not_none() {
        let mut all = AllUnsent::default();
        assert_eq!(as_text(&all), "no message was kept");
        assert_eq!(unlisted(&all, "M").code, "not_found");
        let away = json!({"source": "work", "why": "it was\nended"});
        all.away.push(serde_json::from_value(away).unwrap());
        assert_eq!(as_text(&all), "work is away: it was\\nended");
        assert_eq!(unlisted(&all, "M").code, "source_unavailable");
        let waiting = json!({"more": 0, "source": "talk", "unsent": [], "moreWaiting": 3, "waiting": [
            {"id": "M", "channel": "C", "name": "Sums", "at": "2026-11-25T05:31:38.1Z", "text": "one\ntwo"},
            {"id": "N", "channel": "D", "at": "2026-11-25T05:31:39Z"},
        ]});
        assert_eq!(all.answered, 0);
        all.take(serde_json::from_value(waiting).unwrap());
        assert_eq!(all.answered, 1);
        for (code, is_of_gateway) in [("no_answer", true), ("source_unavailable", false)] {
            let stop = Stop::new(Exit::Failed, code, "w");
            assert_eq!(super::is_of_gateway(&stop), is_of_gateway, "{code}");
        }
        assert_eq!(
            as_text(&all),
            "2026-11-25 05:31:38  waits in \"Sums\" (C); it is sent once the relay answers\n    one\n    two\n\
             2026-11-25 05:31:39  waits in D; it is sent once the relay answers\n    \
             [its text is not known: a client of before kept it]\n\
             and 3 more that wait\n\
             work is away: it was\\nended"
        );
        assert_eq!(unlisted(&all, "M").code, "kept");
    }
}
