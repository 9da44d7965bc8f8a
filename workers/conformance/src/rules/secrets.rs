//! What a source is given in confidence.

use super::{Bench, shown, told};
use crate::breach::Breach;
use plexus_ipc::{message::Role, worker::Source};

pub(super) async fn stay_inside<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let secrets = on.subject.secrets(on.manifest);
    let mut breaches = Vec::new();
    if secrets.is_empty() {
        return breaches;
    }
    let mut worker = on.serve::<S>(Role::Reader).await;
    for reads in [true, false] {
        for (entry, example) in on.subject.examples_of(on.manifest, reads) {
            let input = example.input.clone();
            // Whether it succeeds is another rule's matter; what it says counts all the same.
            let said = if reads {
                let (result, touched) = worker.read(&entry.name, input).await;
                let answer = match &result {
                    Ok(answer) => {
                        let output = String::from_utf8_lossy(&answer.output);
                        format!("{output} {answer:?}")
                    }
                    Err(error) => told(error),
                };
                format!("{answer} {touched:?}")
            } else {
                match worker.plan(&entry.name, input).await {
                    Ok(plan) => format!("{plan:?}"),
                    Err(error) => told(&error),
                }
            };
            for (field, secret) in &secrets {
                if said.contains(secret.as_str()) {
                    let what = format!("{} tells the secret {field}", shown(&example.input));
                    breaches.push(on.breach(&entry.name, what));
                }
            }
        }
    }
    breaches
}
