//! Messages as they come: the last ones of a channel, and those that follow.

use super::{
    found::{Found, find},
    members, shown,
};
use crate::owner::{Desk, Owner};
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
    let mut keys = key_lines(&mut owner, &found).await?;
    desk.say_following("ends this");
    loop {
        // A frame only says that there is a reason to look.
        tokio::select! {
            _ = timeout(LOOK_EVERY, feed.next(&desk.home)) => {}
            () = out::reader_gone() => return Ok(Exit::Ok),
        }
        match further(desk, &found, last.as_deref()).await {
            Ok((page, now)) => {
                is_lost = false;
                last = show_new(desk, &page)?.or(last);
                // Who came, who went and who renewed the key: what was not said yet.
                unsaid(&now, &keys).for_each(|line| out::say(line));
                keys = now;
            }
            // The gateway or the relay may come back, and that is told of once.
            Err(stop) if may_come_back(&stop) => {
                if !is_lost {
                    out::say(&format!("{}; trying again", text::line(&stop.why)));
                }
                is_lost = true;
            }
            Err(stop) => return Err(stop),
        }
    }
}

/// Whether who follows stays: the gateway or the relay is away or busy, or went while it was asked.
fn may_come_back(stop: &Stop) -> bool {
    let away = [
        // So a gateway answers that stops or changes over.
        "busy",
        "connection_lost",
        "no_answer",
        "rate_limited",
        "source_unavailable",
    ];
    stop.exit == Exit::Unreachable || away.contains(&&*stop.code)
}

/// The lines that were not among those before.
fn unsaid<'n>(now: &'n [String], before: &[String]) -> impl Iterator<Item = &'n String> {
    now.iter().filter(|line| !before.contains(line))
}

/// What came since, and how the keys came about by now.
async fn further(
    desk: &Desk,
    found: &Found,
    last: Option<&str>,
) -> Result<(Messages, Vec<String>), Stop> {
    // From the start of a channel that was empty.
    let after = Cursor::After(last.unwrap_or(START).to_owned());
    let page = after.page(&found.source, &found.channel, 200);
    let mut owner = desk.open().await?;
    let page = owner.call(&page).await?;
    Ok((page, key_lines(&mut owner, found).await?))
}

async fn key_lines(owner: &mut Owner, found: &Found) -> Result<Vec<String>, Stop> {
    let (keys, rotate) = (members(owner, found).await?.keys, found.command("rotate"));
    let lines = keys.iter().flat_map(|of| shown::keys(of, &rotate));
    Ok(lines.collect())
}

/// Prints messages, as JSON one a line; the last one's id.
fn show_new(desk: &Desk, page: &Messages) -> Result<Option<String>, Stop> {
    for message in &page.messages {
        desk.show(message, || shown::said(message))?;
    }
    Ok(page.messages.last().map(|message| message.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_client::Done;

    #[test]
    fn new_version_alone_is_said() {
        let lines = |all: &[&str]| {
            all.iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        };
        let before = lines(&["keys: authenticated", "  version 1", "  version 2"]);
        let now = lines(&["keys: authenticated", "  version 2", "  version 3"]);
        let said: Vec<_> = unsaid(&now, &before).collect();
        assert_eq!(said, ["  version 3"]);
        assert_eq!(unsaid(&before, &before).count(), 0);
    }

    #[test]
    fn who_follows_outlives_the_gateway_and_no_refusal() {
        let stop = |exit, code| Stop::new(exit, code, "x").done(Done::Unknown);
        let passing = ["busy", "connection_lost", "no_answer", "rate_limited"];
        for code in passing.into_iter().chain(["source_unavailable"]) {
            assert!(may_come_back(&stop(Exit::Failed, code)), "{code}");
        }
        assert!(may_come_back(&stop(Exit::Unreachable, "unreachable")));
        assert!(!may_come_back(&stop(Exit::Failed, "not_found")));
        assert!(!may_come_back(&stop(Exit::Refused, "unauthorized")));
    }
}
