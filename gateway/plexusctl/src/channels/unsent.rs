//! `plexusctl channels unknown`: messages that were kept while the relay did not answer, and that were refused when they went
//! out. Each stays, with its text, until it is sent again or forgotten.

use super::{found, shown};
use crate::owner::{Desk, Owner, list_of, text_of};
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::{Value, json};

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
    let unsent = list_of(&all, "unsent");
    let unsent = unsent.iter().find(|unsent| unsent["id"] == id.as_str());
    let Some(unsent) = unsent else {
        let why = format!("no message {} was kept and refused", text::line(id));
        let next = "plexusctl channels unknown";
        return Err(Stop::new(Exit::Failed, "not_found", why).next(next));
    };
    let path = format!("/admin/api/channels/{}", text_of(unsent, "source"));
    if again.is_some() {
        desk.widen("speaking in a channel")?;
        let Some(said) = unsent["text"].as_str() else {
            let why = "the text of this message is not known: its key is gone";
            return Err(Stop::new(Exit::Failed, "no_text", why.to_owned()));
        };
        let messages = format!("{path}/{}/messages", text_of(unsent, "channel"));
        owner.post(&messages, &json!({ "text": said })).await?;
    }
    let reply = owner.delete(&format!("{path}/unsent/{id}")).await?;
    desk.show(&reply, || match again.is_some() {
        true => format!("sent to {}", channel(unsent)),
        false => "it is listed no more".to_owned(),
    })
}

/// `{unsent: [{source, …}], more}` of the owner's own sources.
async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<Value, Stop> {
    let (mut unsent, mut more) = (Vec::new(), 0);
    for source in found::sources(owner, source).await? {
        let path = format!("/admin/api/channels/{source}/unsent");
        let answer = owner.get(&path).await?;
        more += answer["more"].as_u64().unwrap_or_default();
        unsent.extend(list_of(&answer, "unsent").iter().map(|one| {
            let mut one = one.clone();
            one["source"] = json!(source);
            one
        }));
    }
    Ok(json!({"unsent": unsent, "more": more}))
}

fn as_text(all: &Value) -> String {
    let unsent = list_of(all, "unsent");
    if unsent.is_empty() {
        return "no message was kept and refused".to_owned();
    }
    let mut lines = Vec::new();
    for one in unsent {
        let why = match text_of(one, "why") {
            "archived" => "the channel is archived",
            "not_found" => "you are no member of it any more",
            why => why,
        };
        let end = match one["mayBeThere"] == true {
            true => "REFUSED, and may have arrived before: ask a member",
            false => "NOT SENT",
        };
        let (at, to) = (shown::moment(one), channel(one));
        lines.push(format!("{at}  to {to}: {end} ({})", text::line(why)));
        match one["text"].as_str() {
            Some(_) => lines.extend(shown::body(one)),
            None => lines.push("    [its text is not known: its key is gone]".to_owned()),
        }
        let id = text::line(text_of(one, "id"));
        lines.push(format!(
            "  send it again:    plexusctl channels unknown --again {id}"
        ));
        lines.push(format!(
            "  list it no more:  plexusctl channels unknown --forget {id}"
        ));
    }
    match all["more"].as_u64() {
        None | Some(0) => {}
        Some(more) => lines.push(format!("and {more} more, once these are sent or forgotten")),
    }
    lines.join("\n")
}

fn channel(unsent: &Value) -> String {
    let id = text::line(text_of(unsent, "channel"));
    match unsent["name"].as_str() {
        Some(name) => format!("{} ({id})", shown::quoted(name)),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_message_is_listed_with_its_text_and_next_steps() {
        let all = json!({"more": 2, "unsent": [
            {"id": "M", "channel": "C", "name": "plans\n2026", "at": "2026-11-25T05:31:38.1Z", "source": "channels",
             "text": "one\ntwo", "why": "archived", "mayBeThere": false},
            {"id": "N", "channel": "D", "at": "2026-11-25T05:31:39Z", "source": "channels", "why": "not_found", "mayBeThere": true},
        ]});
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
