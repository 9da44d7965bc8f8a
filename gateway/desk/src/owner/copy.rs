//! A copy of the ledger for `plexusctl backup`: made by the daemon, because nobody else may open the file while it runs.
//!
//! The copy lies in the state directory; the answer names it. No content goes over HTTP.

use super::Narrowing;
use crate::{
    acts::{blocking, failed},
    desk::{CopyError, Desk},
    table::Served,
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    backup::{CopyLedger, LedgerCopy},
};
use plexus_protocol::{ErrorBody, ErrorCode};
use std::{path::Path, sync::Arc};

pub(super) fn serve(served: Served) -> Served {
    served.with(make)
}

async fn make(desk: Arc<Desk>, _: Narrowing, _: CopyLedger) -> Result<LedgerCopy, Refused> {
    let home = desk.state_dir.path().to_owned();
    match blocking(move || (desk.copy)(&desk)).await? {
        Ok(folder) => Ok(LedgerCopy { ok: Done, folder }),
        Err(error) => {
            tracing::error!(name: "backup.copy_failed", %error, "the ledger could not be copied");
            Err(match error {
                CopyError::DiskFull => Refused::new(disk_full(&home)).status(500),
                CopyError::Failed(why) => failed(format!("The ledger could not be copied: {why}")),
            })
        }
    }
}

fn disk_full(home: &Path) -> ErrorBody {
    let home = home.display();
    let why = format!("The ledger could not be copied: the disk of {home} is full.");
    ErrorBody::new(ErrorCode::PersistFailed, why).next(format!(
        "free as much space on the disk of {home} as ledger.redb there takes, then make the backup again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_named_with_the_space_to_free() {
        let full = disk_full(Path::new("/srv/plexus"));
        assert_eq!(full.code, ErrorCode::PersistFailed);
        for words in [&full.message, &full.next] {
            assert!(words.contains("the disk of /srv/plexus "), "{words}");
        }
    }
}
