//! Inputs that nobody should send, made from the examples and the schema.

use super::{Bench, answers, shown, told};
use crate::{
    breach::Breach,
    input::{self, Harm},
    served::output,
};
use plexus_ipc::{
    message::{Failure, Role},
    worker::Source,
};
use std::time::{Duration, Instant};

/// Inputs for each capability.
const INPUTS: usize = 120;
/// What one of them may take.
const WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn is_an_error<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut worker = on.serve::<S>(Role::Reader).await;
    for reads in [true, false] {
        for (entry, example) in on.subject.examples_of(on.manifest, reads) {
            let schema = entry.input.clone().unwrap_or_default();
            let Ok(validator) = jsonschema::validator_for(&schema) else {
                breaches.push(on.breach(&entry.name, "the input schema is none"));
                continue;
            };
            for (harm, input) in input::harmed(&example.input, &schema, INPUTS) {
                let begun = Instant::now();
                let (error, answer) = if reads {
                    let outcome = worker.read(&entry.name, input.clone()).await;
                    let answer = outcome.0.is_ok().then(|| output(&outcome));
                    (outcome.0.err(), answer)
                } else {
                    (worker.plan(&entry.name, input.clone()).await.err(), None)
                };
                let what = match (error, answer) {
                    _ if begun.elapsed() > WITHIN => {
                        format!("takes {:.1} s", begun.elapsed().as_secs_f64())
                    }
                    (Some(error), _) if error.code == Failure::Internal => told(&error),
                    (Some(_), _) => continue,
                    (None, _) if harm == Harm::Shape && !validator.is_valid(&input) => {
                        "is not what the schema says, and is answered".to_owned()
                    }
                    (None, Some(answer)) => match answers::misfits(entry, &answer).first() {
                        Some(misfit) => format!("is answered with {misfit}"),
                        None => continue,
                    },
                    (None, None) => continue,
                };
                breaches.push(on.breach(&entry.name, format!("{}: {what}", shown(&input))));
                // One is enough to mend; the rest would say the same.
                break;
            }
        }
    }
    breaches
}
