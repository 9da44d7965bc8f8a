//! Idempotency keys: the same key and input within 24 hours get the same answer (wire §5.13).
//!
//! In memory, 1 000 keys an agent: after a restart a key is new. Single use of an approval does not hang on this.

use super::Answer;
use plexus_protocol::{AgentId, CapabilityId, Digest, body::InvokeResponse};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a key is known.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Keys kept for one agent.
const MOST: usize = 1_000;
/// Largest answer that is kept for a key, in bytes of output; a larger one leaves the key free.
const KEPT_BYTES: usize = 256 * 1024;

type Key = (AgentId, CapabilityId, String);

#[derive(Default)]
pub(crate) struct Replays(Arc<Mutex<HashMap<Key, Known>>>);

struct Known {
    digest: Digest,
    since: Instant,
    answer: watch::Receiver<Option<Arc<(u16, InvokeResponse)>>>,
}

/// What a key is to this call.
pub(super) enum Claim {
    First(Claimed),
    Known(Answer),
    OtherInput,
}

/// The right to settle a key. Dropped unsettled, the key is free again.
pub(super) struct Claimed {
    table: Arc<Mutex<HashMap<Key, Known>>>,
    key: Key,
    answer: watch::Sender<Option<Arc<(u16, InvokeResponse)>>>,
    settled: bool,
}

impl Replays {
    pub(super) async fn claim(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        key: &str,
        digest: Digest,
    ) -> Claim {
        let key = (agent.clone(), id.clone(), key.to_owned());
        loop {
            let mut earlier = {
                let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                table.retain(|_, known| known.since.elapsed() < WINDOW);
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
                            Known {
                                digest,
                                since: Instant::now(),
                                answer: seen,
                            },
                        );
                        return Claim::First(Claimed {
                            table: self.0.clone(),
                            key,
                            answer,
                            settled: false,
                        });
                    }
                }
            };
            // Still under way: wait for it. If it ends without an answer to keep, the key is ours to try.
            if let Ok(settled) = earlier.wait_for(Option::is_some).await
                && let Some(answer) = settled.as_ref()
            {
                let (status, body) = &**answer;
                return Claim::Known(Answer {
                    status: *status,
                    body: InvokeResponse {
                        replayed: true,
                        ..body.clone()
                    },
                });
            }
        }
    }
}

impl Claimed {
    pub(super) fn settle(mut self, answer: &Answer) {
        let size = answer.body.output.as_ref().map_or(0, |o| o.get().len());
        // What was refused before anything was done may be tried again under the same key.
        let kept = answer.status < 300 && size <= KEPT_BYTES;
        if kept {
            self.settled = true;
            let _ = self
                .answer
                .send(Some(Arc::new((answer.status, answer.body.clone()))));
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.settled {
            self.table
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.key);
        }
    }
}
