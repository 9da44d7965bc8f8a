//! `plexusctl status`: what is shared, who may do what until when, what waits, and whether all is well.

use crate::{
    grants,
    owner::{Desk, list_of, text_of},
    pause::PAUSED,
    table::table,
};
use plexus_client::{Exit, Stop, span, text};
use plexus_protocol::Timestamp;
use serde_json::{Value, json};

/// Shows the gateway at a glance.
pub(crate) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let gateway = owner.get("/v1/status").await?;
    // This looks at every source, so its worker has started, and proved its cage, when its state is read next.
    let health = owner.get("/admin/api/health").await?;
    let whole = json!({"status": gateway, "sources": health["sources"]});
    if desk.json {
        return desk.show(&whole, String::new);
    }
    let seen = Seen {
        status: owner.get("/admin/api/status").await?,
        health,
        exposure: owner.get("/admin/api/exposure").await?,
        grants: owner.get("/admin/api/grants").await?,
        agents: owner.get("/admin/api/agents/enrollments").await?,
    };
    desk.show(&whole, || seen.text(span::now()))
}

struct Seen {
    status: Value,
    health: Value,
    exposure: Value,
    grants: Value,
    agents: Value,
}

impl Seen {
    fn text(&self, now: Timestamp) -> String {
        let mut lines = vec![self.gateway(), self.waiting(), self.record(), self.cages()];
        lines.extend(self.trouble());
        format!(
            "{}\n\n{}\n\n{}",
            lines.join("\n"),
            self.sources(),
            self.allowed(now)
        )
    }

    fn gateway(&self) -> String {
        let status = &self.status;
        let reach = match status["loopbackOnly"].as_bool() {
            Some(false) => "OTHER MACHINES can reach it, unencrypted",
            _ => "from this machine only",
        };
        format!(
            "gateway: plexusd {} on port {}, {reach}; up {}, process {}",
            text::line(text_of(status, "runtimeVersion")),
            number(&status["port"]),
            status["uptimeMs"]
                .as_u64()
                .map_or_else(|| "?".to_owned(), span::length),
            number(&status["pid"]),
        )
    }

    fn waiting(&self) -> String {
        match self.status["counts"]["pending"].as_u64() {
            Some(0) => "waiting for you: nothing".to_owned(),
            Some(1) => "waiting for you: 1 request: plexusctl approvals watch".to_owned(),
            _ => format!(
                "waiting for you: {} requests: plexusctl approvals watch",
                number(&self.status["counts"]["pending"])
            ),
        }
    }

    fn record(&self) -> String {
        let ledger = &self.status["ledger"];
        match text_of(ledger, "condition") {
            "open" => "record: being kept; plexusctl audit verify checks all of it".to_owned(),
            condition => format!(
                "record: NOT BEING KEPT ({}): {}",
                text::line(condition),
                text::line(text_of(ledger, "reason"))
            ),
        }
    }

    /// Whether each worker that runs has proved its cage at its start.
    fn cages(&self) -> String {
        let cages = &self.status["cages"];
        if cages["supported"] == false {
            return format!(
                "cages: NOT POSSIBLE HERE: {}",
                text::line(text_of(cages, "reason"))
            );
        }
        let all = list_of(&self.status, "workers");
        let running: Vec<_> = all.iter().filter(|w| w["pid"].is_u64()).collect();
        let proven = running
            .iter()
            .filter(|w| {
                w["cage"]["checks"].as_u64().is_some_and(|n| n > 0)
                    && w["cage"]["checks"] == w["cage"]["held"]
            })
            .count();
        let told = match running.len() {
            0 => "no worker runs now".to_owned(),
            n if n == proven => format!("proved by {n} of {n} running workers"),
            n => format!("NOT PROVED by {} of {n} running workers", n - proven),
        };
        format!(
            "cages: {told} ({})",
            text::line(text_of(cages, "mechanism"))
        )
    }

    /// What is not as it should be.
    fn trouble(&self) -> Vec<String> {
        let status = &self.status;
        let mut lines = Vec::new();
        if status["paused"] == true {
            lines.push(PAUSED.to_owned());
        }
        for worker in list_of(status, "workers") {
            let state = text_of(worker, "state");
            if matches!(state, "failed" | "backoff") {
                lines.push(format!(
                    "{} of {}: {}: plexusctl audit tail",
                    text::line(text_of(worker, "role")),
                    text::line(text_of(worker, "source")),
                    text::line(state).to_uppercase()
                ));
            }
        }
        for call in list_of(status, "unsettled") {
            lines.push(format!(
                "NOT KNOWN whether it happened: {} by {} at {}: plexusctl unknown list {}",
                text::line(text_of(call, "capabilityId")),
                text::line(text_of(call, "agentId")),
                text::line(text_of(call, "at")),
                text::line(text_of(call, "auditId")),
            ));
        }
        for source in list_of(status, "resting") {
            lines.push(format!(
                "RESTING: {1} grants on {0} rest until you decide: plexusctl approvals show {2}",
                text::line(text_of(source, "source")),
                number(&source["grants"]),
                text::line(text_of(source, "pendingId")),
            ));
        }
        lines
    }

    /// Each source with what of it agents can ask for.
    fn sources(&self) -> String {
        let rows = list_of(&self.health, "sources").iter().map(|source| {
            let id = text_of(source, "id");
            let names = |enabled: bool| -> Vec<&str> {
                let of = list_of(&self.exposure, "capabilities").iter();
                of.filter(|c| c["enabled"] == enabled)
                    .filter_map(|c| text_of(c, "id").strip_prefix(id)?.strip_prefix('.'))
                    .collect()
            };
            let hidden = match &names(false)[..] {
                [] => String::new(),
                hidden => format!(" (hidden: {})", hidden.join(" ")),
            };
            let state = [text_of(source, "status"), text_of(source, "detail")];
            let state: Vec<_> = state.into_iter().filter(|t| !t.is_empty()).collect();
            [
                id.to_owned(),
                text_of(source, "label").to_owned(),
                state.join(": "),
                format!("{}{hidden}", names(true).join(" ")),
            ]
        });
        table(
            ["source", "label", "state", "agents can ask for"],
            rows.collect(),
            "no sources: plexusctl sources add",
        )
    }

    /// An agent, and that it cannot call where it has no credential.
    fn named(&self, agent: String) -> String {
        let known = list_of(&self.agents, "agents").iter();
        let state = known
            .filter(|known| known["agentId"] == agent.as_str())
            .map(|known| text_of(known, "status"))
            .next();
        match state {
            Some("active") | None => agent,
            Some(_) => format!("{agent} (not enrolled)"),
        }
    }

    /// What stands, of each agent.
    fn allowed(&self, now: Timestamp) -> String {
        let rows = list_of(&self.grants, "grants")
            .iter()
            .map(|grant| grants::row(grant, now))
            .map(|[agent, id, _, ends, terms]| [self.named(agent), id, ends, terms]);
        table(
            ["agent", "may, without asking", "until", "terms"],
            rows.collect(),
            "no agent may do anything without asking",
        )
    }
}

fn number(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            status: json!({"runtimeVersion": "0.1.0", "pid": 12, "port": 7077, "uptimeMs": 7_200_000,
                "loopbackOnly": true, "paused": false, "ledger": {"condition": "open"},
                "cages": {"supported": true, "mechanism": "Landlock and seccomp"},
                "workers": [
                    {"source": "obsidian", "role": "reader", "state": "ready", "pid": 13,
                        "cage": {"checks": 20, "held": 20}},
                    {"source": "obsidian", "role": "writer", "state": "stopped"}],
                "counts": {"pending": 0}, "unsettled": []}),
            health: json!({"sources": [{"id": "obsidian", "label": "Vault", "status": "ok"}]}),
            exposure: json!({"capabilities": [{"id": "obsidian.vault.read", "enabled": true},
                {"id": "obsidian.vault.search", "enabled": false}, {"id": "obsidian2.x", "enabled": true}]}),
            grants: json!({"grants": [{"agentId": "a", "capabilityId": "obsidian.vault.read", "verbs": ["read"],
                "expiresAt": "2026-01-08T00:00:00.000Z"}]}),
            agents: json!({"agents": [{"agentId": "a", "status": "active"}]}),
        }
    }

    fn now() -> Timestamp {
        serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap()
    }

    #[test]
    fn at_a_glance() {
        assert_eq!(
            seen().text(now()),
            "gateway: plexusd 0.1.0 on port 7077, from this machine only; up 2 h, process 12\n\
             waiting for you: nothing\n\
             record: being kept; plexusctl audit verify checks all of it\n\
             cages: proved by 1 of 1 running workers (Landlock and seccomp)\n\n\
             SOURCE    LABEL  STATE  AGENTS CAN ASK FOR\n\
             obsidian  Vault  ok     vault.read (hidden: vault.search)\n\n\
             AGENT  MAY, WITHOUT ASKING  UNTIL        TERMS\n\
             a      obsidian.vault.read  ends in 7 d"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut seen = seen();
        let status = &mut seen.status;
        seen.agents["agents"][0]["status"] = "pending".into();
        status["loopbackOnly"] = false.into();
        status["paused"] = true.into();
        status["counts"]["pending"] = 2.into();
        status["ledger"] =
            json!({"condition": "disk_full", "reason": "only acts of the owner are recorded"});
        status["workers"][0]["cage"]["held"] = 19.into();
        status["workers"][1]["state"] = "failed".into();
        status["unsettled"] = json!([{"auditId": "evt_1", "agentId": "a", "capabilityId": "w.write", "at": "t\u{1b}"}]);
        let text = seen.text(now());
        for wrong in [
            "OTHER MACHINES can reach it",
            "2 requests: plexusctl approvals watch",
            "record: NOT BEING KEPT (disk_full): only acts",
            "NOT PROVED by 1 of 1 running workers",
            "PAUSED",
            "a (not enrolled)",
            "writer of obsidian: FAILED",
            "NOT KNOWN whether it happened: w.write by a at t\\u{1b}: plexusctl unknown list evt_1",
        ] {
            assert!(text.contains(wrong), "{wrong} is missing:\n{text}");
        }
    }
}
