//! What a glance shows, and what is never overlooked.

use super::*;
use plexus_owner::exposure::ExposedCapability;
use plexus_protocol::{AgentId, CapabilityId, EnrollmentStatus};
use serde_json::json;

fn seen() -> Snapshot {
    let head = format!("0123456789abcdef{}", "0".repeat(48));
    let status = json!({"lraVersion": "1.0", "protocolVersion": "0.1", "protocolExact": "0.1.3",
        "runtimeVersion": "0.1.0", "pid": 12, "port": 7077, "uptimeMs": 7_200_000, "paused": false,
        "startedBy": "systemd", "stopping": false, "build": "0.1.0+a", "launch": 1, "loopbackOnly": true,
        "ledger": {"condition": "open", "queued": 0, "events": 1204, "head": head, "checkpoint": 1000,
            "checked": {"at": "2025-12-31T22:00:00.000Z", "by": "start", "holds": true}},
        "cages": {"supported": true, "mechanism": "Landlock and seccomp", "version": 6},
        "workers": [
            {"source": "obsidian", "role": "reader", "state": "ready", "pid": 13, "restarts": 0,
                "since": "2025-12-31T23:00:00.000Z", "cage": {"checks": 20, "held": 20}},
            {"source": "obsidian", "role": "writer", "state": "stopped", "restarts": 0,
                "since": "2025-12-31T23:00:00.000Z"}],
        "sources": [], "agents": {"known": 1, "withGrants": ["a"]},
        "counts": {"sources": 1, "capabilities": 2, "grants": 2, "pending": 0, "sessions": 1},
        "effectsUnderWay": 0, "conversations": [], "unsettled": [], "resting": [], "unsandboxed": []});
    let health = json!({"revision": 1, "sources": [{"id": "obsidian", "label": "Vault", "status": "ok",
        "capabilities": []}]});
    Snapshot {
        status: serde_json::from_value(status).unwrap(),
        health: serde_json::from_value(health).unwrap(),
        exposure: exposure(),
        grants: vec![
            grant("a", "obsidian.vault.read"),
            grant("a", "obsidian.vault.search"),
        ],
        ended: 0,
        agents: vec![Enrollment {
            agent_id: AgentId::parse("a").unwrap(),
            status: EnrollmentStatus::Active,
            issued_at: Timestamp::default(),
            code_expires_at: Timestamp::default(),
            redeemed_at: None,
            revoked_at: None,
        }],
        home: "/a home".into(),
        disk: None,
    }
}

fn exposure() -> Exposure {
    let shown = [
        ("obsidian.vault.read", true),
        ("obsidian.vault.search", false),
        ("obsidian2.x", true),
    ];
    let shown = shown.map(|(id, enabled)| ExposedCapability {
        id: CapabilityId::parse(id).unwrap(),
        label: String::new(),
        enabled,
        default_grant: false,
    });
    Exposure {
        capabilities: shown.into(),
        revision: 1,
    }
}

fn grant(agent: &str, capability: &str) -> GrantRow {
    let grant = json!({"agentId": agent, "capabilityId": capability, "verbs": ["read"], "provenance": "managed",
        "grantedAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-08T00:00:00.000Z",
        "trustWindow": {"kind": "7d"}, "standing": true});
    serde_json::from_value(grant).unwrap()
}

fn text(seen: &Snapshot) -> String {
    let now = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
    seen.text(&seen.needs(), now)
}

#[test]
fn at_a_glance() {
    assert!(seen().needs().is_empty());
    assert_eq!(
        text(&seen()),
        "gateway: plexusd 0.1.0 on port 7077, from this machine only; up 2 h, process 12, started by systemd\n\
         waiting for you: nothing\n\
         audit log: 1204 events, recording; sound, checked at the start 2 h ago from event 1000 on; head 0123456789ab…\n\
         cages: proved by the one running worker, 60 min ago (Landlock and seccomp)\n\n\
         SOURCE    LABEL  STATE   AGENTS CAN ASK FOR\n\
         obsidian  Vault  serves  vault.read (hidden: vault.search)\n\n\
         AGENT  OF        MAY, WITHOUT ASKING      UNTIL           TERMS\n\
         a      obsidian  vault.read vault.search  ends in 7 days"
    );
}

#[test]
fn what_is_wrong_is_said_and_needs_the_owner() {
    let mut seen = seen();
    let status = &mut seen.status;
    seen.agents[0].status = EnrollmentStatus::Pending;
    seen.health.sources[0].health.status = HealthStatus::Unavailable;
    seen.health.sources[0].health.detail = Some("it is\u{1b} gone".to_owned());
    status.loopback_only = false;
    status.paused = true;
    status.counts.pending = 2;
    status.ledger.checked.holds = false;
    status.ledger.condition = LedgerCondition::DiskFull;
    status.ledger.reason = Some("only acts of the owner are recorded".to_owned());
    status.workers[0].cage.as_mut().unwrap().held = 19;
    status.workers[1].state = WorkerState::Failed;
    let event = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
    let unsettled = json!([{"auditId": event, "agentId": "a", "capabilityId": "w.write",
        "inputDigest": "0".repeat(64), "at": "2026-01-01T00:00:00.000Z"}]);
    status.unsettled = serde_json::from_value(unsettled).unwrap();
    let said = text(&seen);
    for wrong in [
        "OTHER MACHINES can reach it",
        "2 requests: plexusctl approvals watch",
        "audit log: NOT RECORDING (disk_full): only acts",
        "NOT PROVED by 1 of 1 running workers",
        "PAUSED",
        "a (not enrolled)",
        "! what agents do is not being recorded: plexusctl doctor",
        "! the audit log is not consistent: plexusctl audit verify",
        "! a worker runs without a proven cage: plexusctl doctor",
        "! writer of obsidian: failed: plexusctl doctor",
        "! obsidian cannot be reached: it is\\u{1b} gone: plexusctl doctor",
        "! NOT KNOWN whether it happened: w.write by a at 2026-01-01T00:00:00.000Z: plexusctl unknown list evt_0",
    ] {
        assert!(said.contains(wrong), "{wrong} is missing:\n{said}");
    }
    assert_eq!(seen.needs().len(), 7);
    assert_eq!(
        json!(seen.whole(&seen.needs()))["needs"]
            .as_array()
            .map(Vec::len),
        Some(7)
    );
}

/// A source that a full disk keeps from serving leads to the disk, and so does the disk itself.
#[test]
fn full_disk_is_named_with_its_folder() {
    let mut seen = seen();
    let said = |seen: &mut Snapshot, bytes: u64, files| {
        seen.disk = troubles::disk(&seen.home, Free { bytes, files }).1;
        text(seen)
    };
    for files in [None, Some(100)] {
        assert!(!said(&mut seen, 200 << 20, files).contains("! disk"));
    }
    let line = "\n! disk: 0 more files can be made at /a home: df -i '/a home'\n";
    let none = said(&mut seen, 200 << 20, Some(0));
    assert!(none.contains(line), "{none}");
    let health = &mut seen.health.sources[0].health;
    health.status = HealthStatus::Unavailable;
    health.detail = Some("the cage's test: No space left on device".to_owned());
    let said = said(&mut seen, 5 << 10, None);
    for line in [
        "\n! disk: 0 MB free at /a home: df -h '/a home'\n",
        "the cage's test: No space left on device: df -h '/a home'\n",
    ] {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
}

#[test]
fn ended_grants_are_counted_with_the_command() {
    let mut seen = seen();
    (seen.grants, seen.ended) = (Vec::new(), 30);
    let said = text(&seen);
    let last = "no agent may do anything without asking\n\n\
                30 grants ended in the last 30 days; to grant again: plexusctl grants renew";
    assert!(said.ends_with(last), "{said}");
}

#[test]
fn a_large_home_stays_on_a_screen() {
    let mut seen = seen();
    seen.grants = (0..500)
        .map(|n| grant(&format!("agent{n}"), "w.read"))
        .collect();
    let said = text(&seen);
    assert!(said.lines().count() < 24, "{said}");
    assert!(said.ends_with("and 488 more: plexusctl grants"), "{said}");
    // The state of one source makes no row of another wide.
    let health = &mut seen.health.sources[0].health;
    health.status = HealthStatus::Unavailable;
    health.detail = Some("what it runs has changed ".repeat(8));
    let said = text(&seen);
    let mut rows = said.lines().filter(|line| line.starts_with("obsidian"));
    assert!(rows.all(|row| row.chars().count() < 120), "{said}");
    // Of the sources that are left out, the list of sources has no capabilities.
    let source =
        |n: usize| json!({"id": format!("s{n}"), "label": "s", "status": "ok", "capabilities": []});
    let sources: Vec<_> = (0..13).map(source).collect();
    seen.health = serde_json::from_value(json!({"revision": 1, "sources": sources})).unwrap();
    let more = "\nand 1 more: plexusctl sources; what each offers: plexusctl status --json\n";
    let said = text(&seen);
    assert!(said.contains(more), "{said}");
}
