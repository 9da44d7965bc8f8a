//! The owner's feed, for programs that stay: a reason to look, again and again, over restarts of the gateway.
//!
//! ```text
//! Closed ─at its moment─▶ Open ─frame─▶ "look"      Open ─the stream ends─▶ Closed, a moment later
//! ```
//! Invariant: nothing that matters here is replayed on the feed, so each frame, and each new connection, means only
//! "look"; what waits is always read anew.

use crate::Owner;
use plexus_client::{Exit, Home, Stop, events::Events};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The pause before connecting again.
const RECONNECT: Duration = Duration::from_secs(1);

/// The feed.
pub enum Feed {
    /// Connected: its frames.
    Open(Events),
    /// Connects at this moment.
    Closed(Instant),
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed {
    /// Connects as soon as it is asked.
    #[must_use]
    pub fn new() -> Self {
        Self::Closed(Instant::now())
    }

    /// Connects after a pause of this length.
    #[must_use]
    pub fn after(pause: Duration) -> Self {
        Self::Closed(Instant::now() + pause)
    }

    /// Waits until there is a reason to look. May be dropped while it waits.
    ///
    /// # Errors
    /// Why it is not connected; the next call tries again, after a moment.
    pub async fn next(&mut self, home: &Home) -> Result<(), Stop> {
        let why = match self {
            Self::Open(events) => match events.next().await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => "the gateway ended the stream".to_owned(),
                Err(failure) => failure.to_string(),
            },
            Self::Closed(at) => {
                sleep_until(*at).await;
                let opened = async {
                    let stream = Owner::open(home).await?.stream("/v1/events").await?;
                    Ok(Self::Open(Events::of(stream)))
                };
                let opened = opened.await;
                *self = Self::Closed(Instant::now() + RECONNECT);
                return opened.map(|open| *self = open);
            }
        };
        *self = Self::Closed(Instant::now() + RECONNECT);
        Err(Stop::new(Exit::Unreachable, "connection_lost", why))
    }
}
