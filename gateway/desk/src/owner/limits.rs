//! How much one agent may do: calls a second, bytes of the log a day.

use super::{Acting, agents::unknown, body::Fields};
use crate::{
    acts::{Named, act, event_of},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::AgentId;
use plexus_trust::{Bounds, CALLS_PER_SECOND, Command, LEDGER_PER_DAY};
use serde_json::{Value, json};
use std::sync::Arc;

/// The word for what holds where the owner says nothing.
const USUAL: &str = "default";

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let (agent, bounds) = known(&desk, &id)?;
    Ok(ok(&shown(&desk, &agent, &bounds)))
}

/// `{"callsPerSecond": N | "default", "ledgerBytesPerDay": N | "default"}`; what is absent stays as it is.
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let _turn = desk.turn().await;
    let (agent, now) = known(&desk, &id)?;
    let bounds = wanted(now, &body)?;
    let command = Command::Bound {
        agent: agent.clone(),
        bounds,
    };
    let receipt = act(&desk, &acting, command).await?;
    let mut answer = shown(&desk, &agent, &bounds);
    answer["ok"] = json!(true);
    answer["auditId"] = json!(event_of(&receipt));
    Ok(ok(&answer))
}

fn known(desk: &Desk, id: &str) -> Result<(AgentId, Bounds), Refused> {
    let agent = AgentId::parse(id).map_err(|_| unknown(id))?;
    let bounds = desk.ledger.snapshot().agent(&agent).map(|a| a.bounds);
    Ok((agent, bounds.ok_or_else(|| unknown(id))?))
}

fn wanted(now: Bounds, body: &Fields) -> Result<Bounds, Refused> {
    let mut next = now;
    if let Some(calls) = number(body, "callsPerSecond")? {
        next.calls_per_second = match calls {
            None => None,
            Some(n) => Some(u32::try_from(n).map_err(|_| not_a_number("callsPerSecond"))?),
        };
    }
    if let Some(bytes) = number(body, "ledgerBytesPerDay")? {
        next.ledger_per_day = bytes;
    }
    next.check().map_err(Refused::malformed)?;
    Ok(next)
}

/// `None`: not there. `Some(None)`: the usual one.
fn number(body: &Fields, key: &str) -> Result<Option<Option<u64>>, Refused> {
    match body.given(key) {
        None => Ok(None),
        Some(Value::String(word)) if word == USUAL => Ok(Some(None)),
        Some(value) => match value.as_u64() {
            Some(n) => Ok(Some(Some(n))),
            None => Err(not_a_number(key)),
        },
    }
}

fn not_a_number(key: &str) -> Refused {
    Refused::malformed(format!("`{key}` is a whole number, or \"{USUAL}\""))
}

fn shown(desk: &Desk, agent: &AgentId, bounds: &Bounds) -> Value {
    json!({
        "agentId": agent,
        "callsPerSecond": {"limit": bounds.calls(), "default": CALLS_PER_SECOND},
        "ledgerBytesPerDay": {
            "limit": bounds.ledger(), "default": LEDGER_PER_DAY,
            "used": desk.limits.written(agent, desk.clock.now()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(now: Bounds, body: Value) -> Result<Bounds, Refused> {
        wanted(now, &Fields(body.as_object().cloned().unwrap()))
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
        for bad in [
            json!({"callsPerSecond": 0}),
            json!({"callsPerSecond": -1}),
            json!({"callsPerSecond": 1.5}),
            json!({"callsPerSecond": "5"}),
            json!({"callsPerSecond": 1_u64 << 32}),
            json!({"callsPerSecond": true}),
            json!({"ledgerBytesPerDay": 0}),
            json!({"ledgerBytesPerDay": (1_u64 << 40) + 1}),
            json!({"ledgerBytesPerDay": "usual"}),
        ] {
            assert!(change(both, bad.clone()).is_err(), "{bad}");
        }
    }
}
