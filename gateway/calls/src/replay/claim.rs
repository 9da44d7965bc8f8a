//! What an idempotency key is to a call.

use super::*;
use crate::{given, kernel::Kernel, terms::Terms};
use plexus_protocol::{
    Digest, RunId,
    body::{InvokeResponse, Run},
};
use plexus_trust::{Permit, key_digest};
use std::{sync::PoisonError, time::Instant};
use tokio::sync::watch;

impl Replays {
    /// What `key` is to a call that `permit` allows. Waits for the same call where that is under way, but for a run: who
    /// asked for that waits by itself.
    pub(crate) async fn claim(
        &self,
        kernel: &Kernel,
        permit: &Permit,
        key: &str,
        digest: Digest,
    ) -> Claim {
        let terms = Terms::of(kernel, permit);
        let claimed = match self.take(kernel, permit, key, digest).await {
            Claim::First(claimed) => claimed,
            Claim::Known(answer) if permit.is_read() => {
                let may = given::may_still_be_given(kernel, &terms);
                return may.map_or_else(Claim::Withheld, |()| Claim::Known(answer));
            }
            other => return other,
        };
        let Some(reserves) = claimed.reserves else {
            return Claim::First(claimed);
        };
        let (state, now) = (kernel.ledger.snapshot(), kernel.clock.now());
        let used = state
            .agent(&permit.agent)
            .and_then(|agent| agent.used_key(reserves, now));
        match used {
            None => Claim::First(claimed),
            Some((_, used)) if used.input != digest => Claim::OtherInput,
            Some((intent, used)) => {
                let (intent, used) = (intent.clone(), used.clone());
                Claim::Known(self.again(&permit.capability, &intent, used).await)
            }
        }
    }

    async fn take(&self, kernel: &Kernel, permit: &Permit, key: &str, digest: Digest) -> Claim {
        let is_read = permit.is_read();
        let reserves = (!is_read).then(|| key_digest(&permit.capability, key));
        let agent = &permit.agent;
        let key = (
            agent.clone(),
            permit.capability.clone(),
            key.to_owned(),
            terms(kernel, permit),
        );
        loop {
            let mut earlier = {
                let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
                table.retain(|_, known| known.since.elapsed() < WINDOW);
                if table
                    .get(&key)
                    .is_some_and(|known| known.is_past_run(kernel, is_read))
                {
                    table.remove(&key);
                }
                match table.get(&key) {
                    Some(known) if known.digest != digest => return Claim::OtherInput,
                    Some(known) => known.answer.clone(),
                    None => {
                        let of_agent = table.iter().filter(|((a, ..), _)| a == agent);
                        if of_agent.clone().count() >= MOST
                            && let Some(oldest) = of_agent
                                .min_by_key(|(_, k)| k.since)
                                .map(|(k, _)| k.clone())
                        {
                            table.remove(&oldest);
                        }
                        let (answer, seen) = watch::channel(None);
                        table.insert(
                            key.clone(),
                            KeyedAnswer {
                                digest,
                                since: Instant::now(),
                                bytes: 0,
                                answer: seen,
                            },
                        );
                        return Claim::First(Claimed {
                            table: self.table.clone(),
                            key,
                            answer,
                            settled: false,
                            reserves,
                        });
                    }
                }
            };
            // Still under way: wait for it. If it ends without an answer to keep, the key is ours to try.
            if let Ok(settled) = earlier.wait_for(Option::is_some).await
                && let Some(answer) = settled.as_ref()
            {
                let (status, body) = &**answer;
                let run = body.run.as_ref();
                let run = run.map(|run| standing_run(kernel, &run.run_id, is_read));
                if run.as_ref().is_none_or(Option::is_some) {
                    return Claim::Known(Answer {
                        status: *status,
                        body: InvokeResponse {
                            replayed: true,
                            run: run.flatten().map(Box::new),
                            ..body.clone()
                        },
                    });
                }
            }
        }
    }
}

impl KeyedAnswer {
    /// Whether it is a run that answers for its key no longer.
    fn is_past_run(&self, kernel: &Kernel, is_read: bool) -> bool {
        let answer = self.answer.borrow();
        let run = answer.as_ref().and_then(|answer| answer.1.run.as_ref());
        run.is_some_and(|run| standing_run(kernel, &run.run_id, is_read).is_none())
    }
}

/// The run that answers for a key, as it is now. None where it is forgotten, or where it was an effect and is over: the
/// ledger knows what became of that.
fn standing_run(kernel: &Kernel, id: &RunId, is_read: bool) -> Option<Run> {
    let now = kernel.clock.now();
    let run = kernel.runs.in_memory(id.as_str(), now)?;
    (is_read || !run.is_over()).then(|| run.handle(&kernel.base, now))
}

/// What the answer of a read hangs on beside its input. An effect is not done again on any terms.
fn terms(kernel: &Kernel, permit: &Permit) -> Option<Digest> {
    let terms = || crate::terms::of_permit(kernel, permit);
    permit.is_read().then(terms)
}
