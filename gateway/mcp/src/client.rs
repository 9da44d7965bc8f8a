//! Who asks: the era of a request, and what its client can do.

use crate::message::{self, RpcError};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Versions with a handshake, the newest first: a client that asks for another gets that one.
pub const LEGACY: [&str; 2] = ["2025-11-25", "2025-06-18"];
/// The version without one.
pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What a client says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) modern: bool,
    pub(crate) tasks: bool,
}

impl Client {
    /// How long a call of this client may be held: below what makes the client give up.
    pub(crate) fn patience(&self) -> Duration {
        let seconds = match self.name.as_str() {
            "claude-code" => 600,
            "codex-mcp-client" => 240,
            // What SDKs have by default is 60 s.
            _ => 50,
        };
        Duration::from_secs(seconds)
    }
}

pub(crate) fn name_of(info: Option<&Value>) -> String {
    let name = info.and_then(|info| info["name"].as_str());
    name.unwrap_or_default().to_owned()
}

/// The client of a request of the stateless era; none for one of the other.
pub(crate) fn modern_client(
    id: &Value,
    params: &Map<String, Value>,
) -> Result<Option<Client>, RpcError> {
    let meta = params.get("_meta").unwrap_or(&Value::Null);
    let Some(version) = meta.get(VERSION_KEY) else {
        return Ok(None);
    };
    if version != MODERN {
        let data = json!({"supported": [MODERN], "requested": version});
        let why = "This protocol version is not spoken here.";
        let code = message::UNSUPPORTED_VERSION;
        return Err(RpcError::with_data(id, code, why, Some(data)));
    }
    let Some(capabilities) = meta.get(CAPABILITIES_KEY).filter(|c| c.is_object()) else {
        let why = format!("_meta has no {CAPABILITIES_KEY}.");
        return Err(RpcError::new(id, message::INVALID_PARAMS, why));
    };
    Ok(Some(Client {
        name: name_of(meta.get(CLIENT_KEY)),
        modern: true,
        tasks: capabilities["extensions"].get(TASKS).is_some(),
    }))
}
