//! How much one agent may do: calls a second, bytes of the log a day.

use super::agents::unknown;
use crate::{
    acting::Acting,
    acts::{act, event_of},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    agents::{ChangeLimits, ChangedLimits, LedgerLimit, Limit, Limits, ShowLimits, WantedLimit},
};
use plexus_protocol::AgentId;
use plexus_trust::{Bounds, CALLS_PER_SECOND, Command, LEDGER_PER_DAY};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(show).with(change)
}

pub(crate) async fn show(
    desk: Arc<Desk>,
    _: Reading,
    asked: ShowLimits,
) -> Result<Limits, Refused> {
    let (agent, bounds) = known(&desk, &asked.id)?;
    Ok(shown(&desk, agent, &bounds))
}

/// What is absent stays as it is.
async fn change(
    desk: Arc<Desk>,
    acting: Acting,
    asked: ChangeLimits,
) -> Result<ChangedLimits, Refused> {
    let _turn = desk.turn().await;
    let (agent, now) = known(&desk, &asked.id)?;
    let bounds = wanted(now, &asked)?;
    let command = Command::Bound {
        agent: agent.clone(),
        bounds,
    };
    let receipt = act(&desk, &acting, command).await?;
    Ok(ChangedLimits {
        limits: shown(&desk, agent, &bounds),
        ok: Done,
        audit_id: event_of(&receipt),
    })
}

fn known(desk: &Desk, id: &str) -> Result<(AgentId, Bounds), Refused> {
    let agent = AgentId::parse(id).map_err(|_| unknown(id))?;
    let bounds = desk.ledger.snapshot().agent(&agent).map(|a| a.bounds);
    Ok((agent, bounds.ok_or_else(|| unknown(id))?))
}

fn wanted(now: Bounds, asked: &ChangeLimits) -> Result<Bounds, Refused> {
    let mut next = now;
    match asked.calls_per_second {
        None => {}
        Some(WantedLimit::Default) => next.calls_per_second = None,
        Some(WantedLimit::Number(calls)) => {
            let calls = u32::try_from(calls).map_err(|_| {
                Refused::malformed("`callsPerSecond` is a whole number, or \"default\"")
                    .about("callsPerSecond")
            })?;
            next.calls_per_second = Some(calls);
        }
    }
    match asked.ledger_bytes_per_day {
        None => {}
        Some(WantedLimit::Default) => next.ledger_per_day = None,
        Some(WantedLimit::Number(bytes)) => next.ledger_per_day = Some(bytes),
    }
    next.check().map_err(Refused::malformed)?;
    Ok(next)
}

fn shown(desk: &Desk, agent: AgentId, bounds: &Bounds) -> Limits {
    let used = desk.limits.written(&agent, desk.clock.now());
    Limits {
        agent_id: agent,
        calls_per_second: Limit {
            limit: bounds.calls().into(),
            default: CALLS_PER_SECOND.into(),
        },
        ledger_bytes_per_day: LedgerLimit {
            held: Limit {
                limit: bounds.ledger(),
                default: LEDGER_PER_DAY,
            },
            used,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn change(now: Bounds, body: Value) -> Result<Bounds, Refused> {
        let in_path = [("id".to_owned(), "one".to_owned())];
        let members = body.as_object().cloned().unwrap();
        let asked = plexus_owner::read(in_path, &[], members)
            .map_err(|why| Refused::malformed(why.to_string()))?;
        wanted(now, &asked)
    }

    #[test]
    fn what_is_not_named_stays_and_nothing_is_guessed() {
        let both = change(
            Bounds::default(),
            json!({"callsPerSecond": 5, "ledgerBytesPerDay": 1 << 20}),
        )
        .unwrap();
        assert_eq!((both.calls(), both.ledger()), (5, 1 << 20));
        assert_eq!(change(both, json!({})).unwrap(), both);
        assert_eq!(change(both, json!({"callsPerSecond": null})).unwrap(), both);
        let back = change(both, json!({"callsPerSecond": "default"})).unwrap();
        assert_eq!((back.calls_per_second, back.ledger()), (None, 1 << 20));
        let (calls, bytes) = ("callsPerSecond", "ledgerBytesPerDay");
        let wanted = "a whole number or \"default\" is wanted";
        for (field, bad, words) in [
            (calls, json!(0), "calls a second are 1 to"),
            (calls, json!(-1), wanted),
            (calls, json!(1.5), wanted),
            (calls, json!("5"), wanted),
            (calls, json!(1_u64 << 32), "is a whole number"),
            (calls, json!(true), wanted),
            (bytes, json!(0), "bytes of the log a day are 1 to"),
            (
                bytes,
                json!((1_u64 << 40) + 1),
                "bytes of the log a day are",
            ),
            (bytes, json!("usual"), wanted),
        ] {
            let refused = change(both, json!({ field: bad })).unwrap_err();
            assert!(refused.why().contains(words), "{}", refused.why());
        }
    }
}
