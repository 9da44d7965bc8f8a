//! `plexusctl channels unknown`: messages that were kept while the relay did not answer, and that were refused when they went
//! out. Each stays, with its text, until it is sent again or forgotten.

use super::{found, shown};
use crate::owner::{Desk, Owner};
use plexus_client::{Exit, Stop, text};
use plexus_owner::channels::{Forget, ListUnsent, Say, UnsentMessage};
use plexus_protocol::SourceId;
use serde::Serialize;

/// Those of all the owner's own sources.
#[derive(Serialize)]
struct AllUnsent {
    unsent: Vec<SourcedMessage>,
    more: u64,
}

#[derive(Serialize)]
struct SourcedMessage {
    #[serde(flatten)]
    message: UnsentMessage,
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
        return desk.show(&all, || as_text(&all));
    };
    let mut unsent = all.unsent.iter();
    let Some(SourcedMessage { message, source }) = unsent.find(|one| one.message.id == *id) else {
        let why = format!("no message {} was kept and refused", text::line(id));
        let next = "plexusctl channels unknown";
        return Err(Stop::new(Exit::Failed, "not_found", why).next(next));
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
        owner.call(&say).await?;
    }
    let forget = Forget {
        source: source.clone(),
        message: id.clone(),
    };
    let reply = owner.call(&forget).await?;
    desk.show(&reply, || match again.is_some() {
        true => format!("sent to {}", channel(message)),
        false => "it is listed no more".to_owned(),
    })
}

async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<AllUnsent, Stop> {
    let (mut unsent, mut more) = (Vec::new(), 0);
    for source in found::sources(owner, source).await? {
        let answer = owner.call(&ListUnsent { source }).await?;
        more = answer.more.saturating_add(more);
        unsent.extend(answer.unsent.into_iter().map(|message| SourcedMessage {
            message,
            source: answer.source.clone(),
        }));
    }
    Ok(AllUnsent { unsent, more })
}

fn as_text(all: &AllUnsent) -> String {
    if all.unsent.is_empty() {
        return "no message was kept and refused".to_owned();
    }
    let mut lines = Vec::new();
    for SourcedMessage { message, .. } in &all.unsent {
        let why = match &*message.why {
            "archived" => "the channel is archived",
            "not_found" => "you are no member of it any more",
            why => why,
        };
        let end = match message.may_be_there {
            true => "REFUSED, and may have arrived before: ask a member",
            false => "NOT SENT",
        };
        let (at, to) = (shown::moment(&message.at), channel(message));
        lines.push(format!("{at}  to {to}: {end} ({})", text::line(why)));
        match &message.text {
            Some(text) => lines.extend(shown::indented(text)),
            None => lines.push("    [its text is not known: its key is gone]".to_owned()),
        }
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
    lines.join("\n")
}

fn channel(unsent: &UnsentMessage) -> String {
    let id = text::line(&unsent.channel);
    match &unsent.name {
        Some(name) => format!("{} ({id})", shown::quoted(name)),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::channels::Unsent;
    use serde_json::json;

    #[test]
    fn refused_message_is_listed_with_its_text_and_next_steps() {
        let all = json!({"more": 2, "source": "channels", "unsent": [
            {"id": "M", "channel": "C", "name": "plans\n2026", "at": "2026-11-25T05:31:38.1Z",
             "text": "one\ntwo", "why": "archived", "mayBeThere": false},
            {"id": "N", "channel": "D", "at": "2026-11-25T05:31:39Z", "why": "not_found", "mayBeThere": true},
        ]});
        let all: Unsent = serde_json::from_value(all).unwrap();
        let unsent = all.unsent.into_iter().map(|message| SourcedMessage {
            message,
            source: all.source.clone(),
        });
        let all = AllUnsent {
            unsent: unsent.collect(),
            more: all.more,
        };
        assert_eq!(
            as_text(&all),
            "2026-11-25 05:31:38  to \"plans\\n2026\" (C): NOT SENT (the channel is archived)\n    one\n    two\n  \
             send it again:    plexusctl channels unknown --again M\n  \
             list it no more:  plexusctl channels unknown --forget M\n\
             2026-11-25 05:31:39  to D: REFUSED, and may have arrived before: ask a member (you are no member of it any more)\n    \
             [its text is not known: its key is gone]\n  \
             send it again:    plexusctl channels unknown --again N\n  \
             list it no more:  plexusctl channels unknown --forget N\n\
             and 2 more, once these are sent or forgotten"
        );
    }
}
