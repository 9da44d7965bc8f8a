//! The owner's settings (`/v1/config`, docs/protocol/owner.md#shells-and-tray-applications) and the pause. Both apply
//! at once.

use super::{Acting, Narrowing};
use crate::{
    acts::{act, event_of, take_back},
    desk::Desk,
    table::Served,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::approvals::run;
use plexus_edge::{
    reply::{self, Refused, ok},
    revocation::cancelled_calls,
};
use plexus_owner::{
    Done,
    pause::{Pause, Paused},
    settings::{LEAST_KEPT, LEAST_WINDOW_MS, TOKEN_MS},
};
use plexus_protocol::{KEY_HEADER, TrustWindow};
use plexus_record::keep_events;
use plexus_trust::{Command, Reach, Reply, Settings};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    if !request.headers().contains_key(KEY_HEADER) {
        return Ok(ok(&super::v1::versions()));
    }
    crate::acts::keyed(&desk, &request).await?;
    let mut config = config(&desk.ledger.snapshot().settings);
    config["tokenLifetimeBounds"] = json!({"minMs": TOKEN_MS.0, "maxMs": TOKEN_MS.1});
    Ok(ok(&config))
}

fn config(settings: &Settings) -> Value {
    json!({
        "tokenLifetimeMs": settings.token_lifetime_ms,
        "maxTrustWindowMs": settings.max_trust_window_ms,
        "allowUntilRevoked": settings.allow_until_revoked,
        "defaultTrustWindows": {
            "first-party:read": settings.read_window.kind(),
            "first-party:write": settings.write_window.kind(),
            "managed:read": settings.managed_read_window.kind(),
            "managed:write": settings.managed_write_window.kind(),
            "extension:read": settings.extension_read_window.kind(),
            // Each of an extension's effects asks, whatever a window would say.
            "extension:write": TrustWindow::Once.kind(),
        },
        "defaultReach": settings.default_reach,
        "autoAllowReads": settings.auto_allow_reads,
        "auditKeepEvents": keep_events(settings),
    })
}

pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    request: Request,
) -> Result<Response, Refused> {
    let asked = AskedSettings::read(reply::object_body(request).await?)?;
    let settings = set(&desk, &acting, &asked).await?;
    Ok(ok(&json!({"ok": true, "config": config(&settings)})))
}

/// Changes what is asked for, and gives all as they are then.
///
/// # Errors
/// Where the change cannot be recorded.
pub(crate) async fn set(
    desk: &Arc<Desk>,
    acting: &Acting,
    asked: &AskedSettings,
) -> Result<Settings, Refused> {
    let _turn = desk.turn().await;
    let settings = asked.of(&desk.ledger.snapshot().settings);
    act(desk, acting, Command::Configure(settings.clone())).await?;
    desk.ledger.keep(keep_events(&settings));
    Ok(settings)
}

/// Settings that are asked for; unknown ones are ignored.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AskedSettings {
    pub(crate) token_lifetime_ms: Option<f64>,
    pub(crate) max_trust_window_ms: Option<f64>,
    pub(crate) allow_until_revoked: Option<bool>,
    pub(crate) default_trust_windows: Option<Map<String, Value>>,
    pub(crate) default_reach: Option<Reach>,
    pub(crate) auto_allow_reads: Option<bool>,
    pub(crate) audit_keep_events: Option<f64>,
}

impl AskedSettings {
    fn read(members: Map<String, Value>) -> Result<Self, Refused> {
        plexus_owner::of_members(members).map_err(|why| Refused::malformed(why.to_string()))
    }

    /// The settings of now with these in their place.
    fn of(&self, now: &Settings) -> Settings {
        let mut next = now.clone();
        if let Some(ms) = self.token_lifetime_ms {
            next.token_lifetime_ms = whole(ms).clamp(TOKEN_MS.0, TOKEN_MS.1);
        }
        if let Some(ms) = self.max_trust_window_ms {
            next.max_trust_window_ms = whole(ms).max(LEAST_WINDOW_MS);
        }
        if let Some(events) = self.audit_keep_events {
            next.audit_keep_events = Some(whole(events).max(LEAST_KEPT));
        }
        if let Some(allow) = self.allow_until_revoked {
            next.allow_until_revoked = allow;
        }
        if let Some(allow) = self.auto_allow_reads {
            next.auto_allow_reads = allow;
        }
        if let Some(reach) = self.default_reach {
            next.default_reach = reach;
        }
        if let Some(windows) = &self.default_trust_windows {
            for (class, held) in [
                ("first-party:read", &mut next.read_window),
                ("first-party:write", &mut next.write_window),
                ("managed:read", &mut next.managed_read_window),
                ("managed:write", &mut next.managed_write_window),
                ("extension:read", &mut next.extension_read_window),
            ] {
                *held = window(windows, class).unwrap_or(*held);
            }
        }
        next
    }
}

/// A window by its name; unknown ones are ignored (docs/protocol/owner.md#shells-and-tray-applications).
fn window(windows: &Map<String, Value>, key: &str) -> Option<TrustWindow> {
    let kind = windows.get(key)?;
    let named = TrustWindow::parse(kind.as_str()?)?;
    (kind == named.kind()).then_some(named)
}

/// A whole number, cut to what can be counted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what f64 counts exactly"
)]
fn whole(number: f64) -> u64 {
    number.clamp(0.0, 9_007_199_254_740_991.0) as u64
}

pub(super) fn serve(served: Served) -> Served {
    served.with(pause)
}

async fn pause(desk: Arc<Desk>, narrowing: Narrowing, asked: Pause) -> Result<Paused, Refused> {
    let on = asked.on;
    let (receipt, cancelled) = if on {
        let taken = take_back(&desk, &narrowing, Command::Pause(on)).await?;
        (taken.receipt, cancelled_calls(&taken.cancelled))
    } else {
        let acting = narrowing.wider(&desk).await?;
        let receipt = act(&desk, &acting, Command::Pause(on)).await?;
        desk.edge.mcp.end_pause();
        // What was approved meanwhile.
        run::resume(&desk.edge.kernel);
        (receipt, Vec::new())
    };
    let state = desk.ledger.snapshot();
    let in_flight = state.open_intents.keys().filter(|_| on);
    Ok(Paused {
        ok: Done,
        paused: on,
        changed: matches!(receipt.reply, Reply::Changed(true)),
        audit_id: event_of(&receipt),
        in_flight: in_flight.cloned().collect(),
        cancelled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::capability::DAY_MS;

    fn change(body: Value) -> Result<Settings, Refused> {
        let asked = AskedSettings::read(body.as_object().cloned().unwrap())?;
        Ok(asked.of(&Settings::default()))
    }

    #[test]
    fn values_are_clamped_and_unknown_words_ignored() {
        let settings = change(json!({
            "tokenLifetimeMs": 5, "maxTrustWindowMs": 1, "allowUntilRevoked": false,
            "defaultTrustWindows": {"first-party:read": "1h", "bogus": "1d", "managed:read": "zzz", "extension:read": "90m"},
            "defaultReach": "selected", "nobody": [], "auditKeepEvents": 3,
        }))
        .unwrap();
        assert_eq!(
            (settings.token_lifetime_ms, settings.max_trust_window_ms),
            (60_000, DAY_MS)
        );
        assert!(!settings.allow_until_revoked && !settings.auto_allow_reads);
        assert_eq!(
            (settings.read_window, settings.extension_read_window),
            (TrustWindow::HOUR, TrustWindow::DAY)
        );
        assert_eq!(settings.default_reach, Reach::Selected);
        assert_eq!(settings.audit_keep_events, Some(LEAST_KEPT));
        assert_eq!(config(&Settings::default())["auditKeepEvents"], 250_000);
        assert_eq!(
            change(json!({"tokenLifetimeMs": 1e300}))
                .unwrap()
                .token_lifetime_ms,
            3_600_000
        );
        assert_eq!(
            change(json!({"tokenLifetimeMs": null})).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        for (field, bad) in [
            ("tokenLifetimeMs", json!("60000")),
            ("allowUntilRevoked", json!(1)),
            ("auditKeepEvents", json!("all")),
            ("defaultReach", json!("all")),
            ("defaultTrustWindows", json!(["1h"])),
            ("autoAllowReads", json!("yes")),
        ] {
            let refused = change(json!({ field: bad })).unwrap_err();
            assert!(
                refused.why().starts_with(&format!("`{field}`: ")),
                "{}",
                refused.why()
            );
        }
    }

    #[test]
    fn each_class_has_its_own_default() {
        let one = change(json!({"defaultTrustWindows": {"managed:write": "1h"}})).unwrap();
        assert_eq!(
            (one.write_window, one.managed_write_window),
            (TrustWindow::DAY, TrustWindow::HOUR)
        );
        let shown = &config(&one)["defaultTrustWindows"];
        assert_eq!(
            (&shown["first-party:write"], &shown["managed:write"]),
            (&json!("1d"), &json!("1h"))
        );
    }
}
