//! The things that a call is about, as its records name them.

use crate::kernel::Kernel;
use plexus_ipc::message::{Touched, TouchedId};
use plexus_protocol::{Digest, Verb};
use plexus_sources::catalogue::Entry;
use plexus_trust::{Basis, Touch};
use serde_json::Value;

/// The things that a call is about: by its approved plan, else by the fields of its input that name them. `digest`: of what is
/// there now, where that is known.
pub(crate) fn about(
    kernel: &Kernel,
    entry: &Entry,
    input: Option<&Value>,
    basis: Option<&Basis>,
    digest: Option<Digest>,
) -> Vec<Touch> {
    if let Some(Basis::Item(item)) = basis
        && let Some(planned) =
            kernel
                .approvals
                .would_touch(&kernel.ledger.snapshot(), item, &entry.id)
    {
        return reported(&planned);
    }
    let capability = entry.capability();
    let named = |rule: &plexus_ipc::manifest::Constrainable| {
        let id = input?.get(&rule.field)?.as_str()?;
        Some(Touch {
            kind: rule.touched.clone()?,
            id: TouchedId::new(id).as_str().to_owned(),
            access: match capability.verbs.is_read() {
                true => Verb::Read,
                false => Verb::Write,
            },
            digest,
        })
    };
    capability.constrainable.iter().filter_map(named).collect()
}

pub(crate) fn reported(touched: &[Touched]) -> Vec<Touch> {
    let touch = |t: &Touched| Touch {
        kind: t.kind.as_str().to_owned(),
        id: t.id.as_str().to_owned(),
        access: t.access,
        digest: t.digest,
    };
    touched.iter().map(touch).collect()
}
