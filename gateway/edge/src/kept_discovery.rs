//! The discovery document as it was last made, and what it was made of.
//!
//! It lists every capability that is exposed: with many sources making it costs more than sending it, and nothing in it
//! changes from one call to the next.
//!
//! Must not know: what the document says.

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use plexus_calls::kernel::Kernel;
use plexus_sources::catalogue::Catalogue;
use serde_json::Value;
use std::sync::Arc;

/// The document as it was last made; none at first.
#[derive(Default)]
pub struct KeptDiscovery(ArcSwapOption<(MadeOf, Bytes)>);

impl KeptDiscovery {
    /// The document, made anew where something in it has changed.
    pub(crate) fn get(
        &self,
        kernel: &Kernel,
        text: impl FnOnce(&MadeOf) -> Value,
    ) -> serde_json::Result<Bytes> {
        let now = MadeOf::now(kernel);
        if let Some(known) = &*self.0.load()
            && known.0.same(&now)
        {
            return Ok(known.1.clone());
        }
        let made = Bytes::from(serde_json::to_vec(&text(&now))?);
        self.0.store(Some(Arc::new((now, made.clone()))));
        Ok(made)
    }
}

/// Everything in the document that can change within a launch. Its maker is given nothing else of the state, so a
/// document that was made of the very same parts is the same document.
pub(crate) struct MadeOf {
    pub(crate) catalogue: Arc<Catalogue>,
    /// Sources, exposure and settings; empty otherwise.
    pub(crate) state: plexus_trust::State,
}

impl MadeOf {
    fn now(kernel: &Kernel) -> Self {
        let newest = kernel.ledger.snapshot();
        Self {
            catalogue: kernel.catalogue.load_full(),
            state: plexus_trust::State {
                sources: newest.sources.clone(),
                exposure: newest.exposure.clone(),
                settings: newest.settings.clone(),
                ..plexus_trust::State::default()
            },
        }
    }

    /// Whether both hold the same values in memory, which nobody changes while they are held.
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.catalogue, &other.catalogue)
            && Arc::ptr_eq(&self.state.sources, &other.state.sources)
            && Arc::ptr_eq(&self.state.exposure, &other.state.exposure)
            && Arc::ptr_eq(&self.state.settings, &other.state.settings)
    }
}
