//! Notices that a lent MCP server defines its tools otherwise than the owner agreed to: what is new or changed leaves the
//! catalogue, and the owner is asked on the card of the source.
//!
//! ```text
//! the reader says that something differs ─▶ a look at the server, in its reader's cage ─▶ in force, proposed ─▶ catalogue
//! ```
//! Invariant: nothing that a server says makes anything callable.
//!
//! Must not know: how a worker compares.

use crate::{kernel::Kernel, own};
use plexus_home::tasks::blocking;
use plexus_ipc::manifest::Manifest;
use plexus_protocol::SourceId;
use plexus_sources::{
    extensions::{self, Listing, ServerRequest, proposals::compare},
    naming,
};
use std::sync::Arc;
use tokio::sync::Mutex;

/// One look at a time: each begins with what the one before left in force.
static LOOKING: Mutex<()> = Mutex::const_new(());

/// Looks at a server, where the source is one, and puts what was found in place.
pub(crate) async fn notice(kernel: Arc<Kernel>, source: SourceId) {
    let _looking = LOOKING.lock().await;
    match look(&kernel, &source).await {
        Ok(false) => {}
        Ok(true) => {
            // Its workers have the manifest of before.
            kernel.supervisor.remove(&source).await;
            if let Err(why) = kernel.look_at(&source).await {
                tracing::warn!(name: "source.unusable", %source, error = why, "a source cannot be used");
            }
            // What is hidden is hidden also where the source cannot be used.
            kernel.renew_catalogue(None);
        }
        Err(why) => {
            tracing::warn!(name: "extension.unreadable", %source, error = why, "a server that has changed cannot be compared");
        }
    }
}

/// Whether something was found.
async fn look(kernel: &Arc<Kernel>, id: &SourceId) -> Result<bool, String> {
    let state = kernel.ledger.snapshot();
    let Some(source) = state.sources.get(id).cloned() else {
        return Ok(false);
    };
    if source.config.kind != naming::kind_of(id) {
        return Ok(false);
    }
    let told = own::listing(kernel, &source, extensions::LISTING).await;
    let told = told.map_err(|error| error.message)?;
    let listing: Listing = serde_json::from_str(told.get()).map_err(|why| why.to_string())?;
    let (kernel_here, id_here) = (kernel.clone(), id.clone());
    let at = state.time(kernel.clock.now());
    let put = blocking(move || {
        let (kernel, id) = (kernel_here, id_here);
        let agreed = extensions::stored(&kernel.state_dir, &id).map_err(|e| e.to_string())?;
        let manifest = Manifest::parse(&agreed).map_err(|e| e.to_string())?;
        let request = ServerRequest::installed(&id, &manifest, &source.config.route)?;
        let before = kernel.registry.proposal(&id);
        let found = compare(&request, &agreed, before.as_deref(), &listing, at)?;
        let Some(compared) = found else {
            return Ok(false);
        };
        let held = kernel.registry.hold_back(&kernel.state_dir, &id, compared);
        held.map_err(|why| format!("{why:#}"))?;
        Ok::<_, String>(true)
    });
    put.await.map_err(|error| error.to_string())?
}
