//! What an entry of the menu does.

use plexus_client::{Home, Stop};
use plexus_owner::pause::Pause;
use plexus_owner_client::{Owner, browser};

/// A choice of the person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Opens a page of the console, signed in.
    Open(String),
    /// Suspends all agents, or serves them again.
    Pause(bool),
    /// Ends this program; the gateway goes on.
    Quit,
}

impl Act {
    /// Opens what waits.
    pub(crate) fn approvals() -> Self {
        Self::Open("/admin/approvals".to_owned())
    }

    /// Opens one request. It is decided there, where its card is seen.
    pub(crate) fn card(id: &str) -> Self {
        Self::Open(format!("/admin/approvals/{id}"))
    }
}

/// Does it. A person chose it on their own desktop, so none is asked for at a terminal.
///
/// # Errors
/// The gateway's refusal; no browser was opened.
pub(crate) async fn perform(home: Home, act: Act) -> Result<(), Stop> {
    match act {
        Act::Open(page) => browser::open_page(&home, &page).await,
        Act::Pause(on) => {
            let mut owner = Owner::open(&home).await?;
            owner.call(&Pause { on }).await.map(drop)
        }
        Act::Quit => Ok(()),
    }
}
