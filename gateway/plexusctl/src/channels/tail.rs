//! Messages as they come: the last ones of a channel, and those that follow.

use super::{
    found::{Found, find},
    members, shown,
};
use crate::owner::Desk;
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::channels::{Messages, Read};
use plexus_owner_client::Feed;
use plexus_protocol::SourceId;
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

impl Cursor {
    /// The call for a page there, of so many messages at most.
    pub(super) fn page(&self, source: &SourceId, channel: &str, limit: u32) -> Read {
        let (after, before) = match self {
            Self::Newest => (None, None),
            Self::After(id) => (Some(id.clone()), None),
            Self::Before(id) => (None, Some(id.clone())),
        };
        Read {
            source: source.clone(),
            channel: channel.to_owned(),
            after,
            before,
            limit: Some(limit),
        }
    }
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
    let page = Cursor::Newest.page(&found.source, &found.channel, lines);
    let page = owner.call(&page).await?;
    let mut last = show_new(desk, &page)?;
    if !follow {
        return Ok(Exit::Ok);
    }
    let (mut feed, mut is_lost) = (Feed::new(), false);
    let mut keys = members(&mut owner, &found).await?.keys;
    loop {
        // A frame only says that there is a reason to look.
        let _ = timeout(LOOK_EVERY, feed.next(&desk.home)).await;
        match further(desk, &found, last.as_deref()).await {
            Ok(page) => {
                is_lost = false;
                last = show_new(desk, &page)?.or(last);
                // Who came, who went and who renewed the key.
                let now = members(&mut desk.open().await?, &found).await?.keys;
                if now != keys {
                    let lines = now.iter().flat_map(shown::keys);
                    lines.for_each(|line| out::say(&line));
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

async fn further(desk: &Desk, found: &Found, last: Option<&str>) -> Result<Messages, Stop> {
    // From the start of a channel that was empty.
    let after = Cursor::After(last.unwrap_or(START).to_owned());
    let page = after.page(&found.source, &found.channel, 200);
    desk.open().await?.call(&page).await
}

/// Prints messages, as JSON one a line; the last one's id.
fn show_new(desk: &Desk, page: &Messages) -> Result<Option<String>, Stop> {
    for message in &page.messages {
        desk.show(message, || shown::said(message))?;
    }
    Ok(page.messages.last().map(|message| message.id.clone()))
}
