//! `plexusctl status`.

use crate::{
    owner::{Desk, list_of, text_of},
    table::table,
};
use plexus_client::{Exit, Stop, span, text};
use serde_json::{Value, json};

/// Shows the gateway and its sources.
pub(crate) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let gateway = owner.get("/v1/status").await?;
    let health = owner.get("/admin/api/health").await?;
    let whole = json!({"status": gateway, "sources": health["sources"]});
    desk.show(&whole, || as_text(&gateway, &health))
}

fn as_text(gateway: &Value, health: &Value) -> String {
    let number = |value: &Value| {
        value
            .as_u64()
            .map_or_else(|| "?".to_owned(), |n| n.to_string())
    };
    let counts = &gateway["counts"];
    let counted: Vec<_> = ["sources", "capabilities", "grants", "pending", "sessions"]
        .iter()
        .map(|what| format!("{} {what}", number(&counts[*what])))
        .collect();
    let rows = list_of(health, "sources").iter().map(|source| {
        ["id", "status", "label", "detail"].map(|member| text_of(source, member).to_owned())
    });
    let head = format!(
        "plexusd {} {} on port {}, process {}, up {}",
        text::line(text_of(gateway, "runtimeVersion")),
        text::line(text_of(gateway, "instance")),
        number(&gateway["port"]),
        number(&gateway["pid"]),
        gateway["uptime"]
            .as_u64()
            .map_or_else(|| "?".to_owned(), span::length),
    );
    let sources = table(
        ["source", "state", "label", "detail"],
        rows.collect(),
        "no sources: plexusctl sources add",
    );
    format!(
        "{}\n{}\n\n{sources}",
        head.replace("  ", " "),
        counted.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_glance() {
        let gateway = json!({"runtimeVersion": "0.1.0", "pid": 12, "port": 7077, "uptime": 7_200_000,
            "counts": {"sources": 1, "capabilities": 3, "grants": 2, "pending": 0, "sessions": 1}});
        let health = json!({"sources": [{"id": "obsidian", "label": "Vault", "status": "ok"}]});
        assert_eq!(
            as_text(&gateway, &health),
            "plexusd 0.1.0 on port 7077, process 12, up 2 h\n\
             1 sources, 3 capabilities, 2 grants, 0 pending, 1 sessions\n\n\
             SOURCE    STATE  LABEL  DETAIL\nobsidian  ok     Vault"
        );
    }
}
