//! Cards of what the peer does: a turn, and the effects of its tools.
//!
//! Invariants: a card shows the channel, its members and all of the text; its token covers them; what the commit wraps keys for
//! are the devices on the card.

use plexus_channels::Id;
use plexus_channels::account::{Account, Agreed};
use plexus_channels::wire::Channel;
use plexus_ipc::worker::{Content, Plan, Preview, SourceError, Touched};
use plexus_protocol::{Digest, json};
use plexus_worker_channels::{KIND, about, channel, user};
use serde::Deserialize;
use serde_json::{Value, json};

/// Input of `turn`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TurnInput {
    pub(crate) turn: Id,
    messages: usize,
}

/// What a commit is to do: a tool of this name with this input.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) tool: String,
    pub(crate) input: Value,
    /// The devices of the users on its card.
    pub(crate) agreed: Agreed,
}

/// A turn: what it will do and reach.
pub(crate) fn turn(input: TurnInput, model: &str) -> Plan<Id> {
    // Of at most four words before the colon: they are the card's first line.
    let preview = Preview::new("gives Codex one turn: in its channels; a window gives it all turns without asking")
        .fact("messages", input.messages.to_string())
        .fact("model", model)
        .fact("who can write to it", "everybody in its organization at the relay: what they write is a request, never your word")
        .fact("by itself", "it reads its channels, works in a folder of its own without your files, and does what its grants allow")
        .fact("asks you", "every call that it was not granted; opening a channel, adding a member and archiving each time");
    let token = Digest::of(input.turn.to_string().as_bytes());
    Plan::new(input.turn, token, preview, "took a turn")
}

/// A call of a tool that has an effect.
pub(crate) async fn plan(account: &Account, mut act: Act) -> Result<Plan<Act>, SourceError> {
    let id = act.input["channel_id"].as_str().map(str::parse::<Id>);
    let id = id.transpose();
    let id = id.map_err(|_| SourceError::invalid("channel_id is no id"))?;
    let found = match id {
        Some(id) => Some(channel(account, id).await?),
        None => None,
    };
    let (preview, users) = card(account, &mut act, found.as_ref()).await?;
    let members = |(channel, name): &(Channel, String)| {
        let mut ids: Vec<Id> = channel.members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        json!([name, ids])
    };
    let of = json!([act.tool, act.input, found.as_ref().map(members), users]);
    let token = Digest::of(&json::canonical(&of));
    let touched = id.map(|id| Touched::write(KIND, id.to_string(), None));
    let summary = summary(&act.tool);
    let plan = Plan::new(act, token, preview, summary).touched(touched);
    // It replaces nothing that an agent would have to read first.
    Ok(plan.before(Content::Absent))
}

/// What a tool has done, in a line without content.
pub(crate) fn summary(tool: &str) -> &'static str {
    match tool {
        "reply" => "sent a message",
        "add_member" => "added a member",
        "archive_channel" => "archived a channel",
        "unarchive_channel" => "unarchived a channel",
        _ => "opened a channel",
    }
}

async fn card(
    account: &Account,
    act: &mut Act,
    found: Option<&(Channel, String)>,
) -> Result<(Preview, Vec<String>), SourceError> {
    let (input, agreed, mut users) = (&act.input, &mut act.agreed, Vec::new());
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    let Some((channel, name)) = found else {
        let headline = "opens a channel; its members can read all that is written in it";
        let mut preview = Preview::new(headline).fact("name", text("name"));
        for member in input["member_ids"].as_array().into_iter().flatten() {
            let member = user_id(member.as_str().unwrap_or_default())?;
            let user = user(account, member, agreed).await?;
            preview = preview.fact("member", &user);
            users.push(user);
        }
        return Ok((preview.text(text("message")), users));
    };
    let about = |headline: &str| about(account, headline, channel, name);
    let preview = match &*act.tool {
        "reply" => about("sends a message as the peer")?.text(text("text")),
        "add_member" => {
            let user = user(account, user_id(text("user_id"))?, agreed).await?;
            let shown = about("adds a member, who can read all that was written in the channel")?
                .fact("new member", &user);
            users.push(user);
            shown
        }
        "archive_channel" => about("archives a channel: it can be read, and takes no message")?,
        _ => about("makes a channel active again")?,
    };
    Ok((preview, users))
}

fn user_id(id: &str) -> Result<Id, SourceError> {
    let id = id.parse();
    id.map_err(|_| SourceError::invalid("a user's id is no id"))
}
