//! The grants on one source, counted for a question.

use crate::owner::Owner;
use plexus_client::Stop;
use plexus_owner::grants::{GrantRow, List};
use plexus_protocol::SourceId;

/// The grants on a source.
pub(super) fn grants_on<'g>(
    grants: &'g [GrantRow],
    source: &SourceId,
) -> impl Iterator<Item = &'g GrantRow> {
    let is_on = move |grant: &&GrantRow| grant.capability_id.parts().0 == source.as_str();
    grants.iter().filter(is_on)
}

/// How many grants there are on a source.
pub(super) async fn granted_on(owner: &mut Owner, source: &SourceId) -> Result<usize, Stop> {
    let grants = owner.call(&List {}).await?.grants;
    Ok(grants_on(&grants, source).count())
}

/// So many grants, in words.
pub(super) fn the_grants(count: usize) -> String {
    match count {
        1 => "the grant".to_owned(),
        many => format!("the {many} grants"),
    }
}
