//! A copy of the ledger for `plexusctl backup`: made by the daemon, because nobody else may open the file while it runs.
//!
//! The copy lies in the state directory; the answer names it. No content goes over HTTP.

use super::Narrowing;
use crate::{
    acts::{blocking, failed},
    desk::Desk,
    table::Served,
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    backup::{CopyLedger, LedgerCopy},
};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(make)
}

async fn make(desk: Arc<Desk>, _: Narrowing, _: CopyLedger) -> Result<LedgerCopy, Refused> {
    match blocking(move || (desk.copy)(&desk)).await? {
        Ok(folder) => Ok(LedgerCopy { ok: Done, folder }),
        Err(error) => {
            tracing::error!(name: "backup.copy_failed", %error, "the ledger could not be copied");
            Err(failed(format!("The ledger could not be copied: {error}")))
        }
    }
}
