//! The launcher on Linux: enters the cage, and becomes the worker.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::monitor::Duty;
use super::{enter_with, go_without};
use crate::call::{Call, Refusal, prove};
use crate::profile::Profile;
use crate::ruleset::Ruleset;

/// Returns only to refuse: on success this process has become the worker.
pub(crate) fn launch(call: Call) -> Result<Infallible, Refusal> {
    match &call.cage {
        None => go_without(&call.limits)?,
        Some(cage) => {
            let ruleset = Ruleset::evaluate(&Profile::parse(&cage.profile)?, &cage.parameters)?;
            let duty = match call.kept {
                Some(kept) => Duty::Keep(kept),
                None if call.stays => Duty::EndTree(call.lock),
                None => Duty::of(&ruleset),
            };
            enter_with(&ruleset, &call.limits, duty)?;
        }
    }
    if let Some(targets) = &call.prove {
        prove(targets)?;
    }
    let error = Command::new(&call.worker).args(&call.arguments).exec();
    Err(Refusal::Exec {
        worker: call.worker,
        error,
    })
}
