//! Messages as they come: the last ones of a channel, and those that follow.

use super::{
    found::{Found, find},
    shown,
};
use crate::{
    feed::Feed,
    owner::{Desk, Owner, list_of, text_of},
};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long `tail --follow` waits for the gateway to tell of a message before it looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Below the id of every message: a page after it begins at the start of the channel.
pub(super) const START: &str = "00000000000000000000000000";

/// Where a page of messages begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cursor {
    Newest,
    After(String),
    Before(String),
}

/// A page of messages, oldest first.
pub(super) async fn messages(
    owner: &mut Owner,
    channel: &str,
    cursor: &Cursor,
    limit: u32,
) -> Result<Value, Stop> {
    let mut path = format!("{channel}/messages?limit={limit}");
    let (name, id) = match cursor {
        Cursor::Newest => return owner.get(&path).await,
        Cursor::After(id) => ("after", id),
        Cursor::Before(id) => ("before", id),
    };
    path.push_str(&format!("&{name}={}", crate::activity::encoded(id)));
    owner.get(&path).await
}

/// Shows the last messages of a channel, and stays where it is to follow.
pub(super) async fn tail(
    desk: &Desk,
    channel: &str,
    source: Option<&SourceId>,
    lines: u32,
    follow: bool,
) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let found = find(&mut owner, channel, source).await?;
    let page = messages(&mut owner, &found.path(), &Cursor::Newest, lines).await?;
    let mut last = show_new(desk, &page)?;
    if !follow {
        return Ok(Exit::Ok);
    }
    let (mut feed, mut is_lost) = (Feed::new(), false);
    let mut keys = owner.get(&found.path()).await?["keys"].take();
    loop {
        // A frame only says that there is a reason to look.
        let _ = timeout(LOOK_EVERY, feed.next(desk)).await;
        match further(desk, &found, last.as_deref()).await {
            Ok(page) => {
                is_lost = false;
                last = show_new(desk, &page)?.or(last);
                // Who came, who went and who renewed the key.
                let now = desk.open().await?.get(&found.path()).await?["keys"].take();
                if now != keys {
                    shown::keys(&now).iter().for_each(|line| out::say(line));
                    keys = now;
                }
            }
            // The gateway or the relay may come back, and that is told of once.
            Err(stop) if stop.exit == Exit::Unreachable || stop.code == "source_unavailable" => {
                if !is_lost {
                    out::say(&format!("{}; trying again", text::line(&stop.why)));
                }
                is_lost = true;
            }
            Err(stop) => return Err(stop),
        }
    }
}

async fn further(desk: &Desk, found: &Found, last: Option<&str>) -> Result<Value, Stop> {
    // From the start of a channel that was empty.
    let after = Cursor::After(last.unwrap_or(START).to_owned());
    messages(&mut desk.open().await?, &found.path(), &after, 200).await
}

/// Prints messages, as JSON one a line; the last one's id.
fn show_new(desk: &Desk, page: &Value) -> Result<Option<String>, Stop> {
    for message in list_of(page, "messages") {
        desk.show(message, || shown::said(message))?;
    }
    let last = list_of(page, "messages").last();
    Ok(last.map(|message| text_of(message, "id").to_owned()))
}
