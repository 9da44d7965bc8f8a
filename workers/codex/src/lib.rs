//! The codex connector: Codex works on a copy of one folder.
//!
//! Must not know: agents, grants, the gateway, the key of the model server.

#[cfg(test)]
mod oracles;
mod rollout;
mod session;

use plexus_coding_agent::{
    CodingAgent, EGRESS_HEADER, HostServer, ModelServer, NamedValues, Program, Task, ThreadFolder,
    ToolCall, Turn, TurnProgress, Usage, list,
};
use plexus_ipc::{manifest::paths_below, worker::Handlers};
use serde_json::{Value, json};
use std::path::Path;

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// The model's paths below the owner's `server`, as the manifest has them: of an API key, and of a ChatGPT sign-in, whose address is
/// whole.
const PATHS: [&str; 2] = ["/v1", "/backend-api/codex"];

/// One folder that Codex works on copies of.
pub type CodexSource = CodingAgent<Codex>;

/// `codex exec --json`.
#[derive(Debug)]
pub struct Codex;

impl Program for Codex {
    const NAME: &'static str = "Codex";
    const VERSION: &'static str = "0.169.0";
    const COUNTS_THREADS: bool = true;
    const NO_THREAD: &'static str = "no rollout found";
    const SETTINGS: &'static [&'static str] = &["config.toml", "auth.json"];

    fn arguments(task: &Task, model: &ModelServer, host: Option<&HostServer>) -> NamedValues {
        let path = &paths_below(&model.path, &PATHS)[0];
        // A text of JSON is one of TOML.
        let base = json!(format!("http://127.0.0.1:{}{path}", model.egress.port));
        let credential = match model.signs_in {
            true => format!(
                "requires_openai_auth=true,env_http_headers={{\"{EGRESS_HEADER}\"=\"PLEXUS_EGRESS_KEY\"}}"
            ),
            false => "env_key=\"PLEXUS_EGRESS_KEY\"".to_owned(),
        };
        let provider = format!(
            "model_providers.plexus={{name=\"plexus\",base_url={base},wire_api=\"responses\",{credential},\
             request_max_retries=2,stream_max_retries=2}}"
        );
        let servers = match host {
            None => "mcp_servers={}".to_owned(),
            Some(host) => {
                let [program, address] = [&host.program, &host.address].map(|path| json!(path));
                format!(
                    "mcp_servers.{}={{command={program},args=[\"mcp-host\"],env={{PLEXUM_MCP_SOCKET={address}}},\
                     required=true,startup_timeout_sec=20,tool_timeout_sec=1800}}",
                    host.name
                )
            }
        };
        let named = task.program_model.as_deref();
        let options = named.into_iter().flat_map(|model| ["-m", model]);
        vec![
            ("provider", provider),
            ("host", servers),
            ("options", list(options)),
        ]
    }

    fn environment(home: &Path, model: &ModelServer) -> NamedValues {
        let egress = &model.egress;
        vec![
            ("CODEX_HOME", home.to_string_lossy().into_owned()),
            ("PLEXUS_EGRESS_KEY", egress.credential.expose().to_owned()),
        ]
    }

    fn handlers(handlers: Handlers<CodexSource>) -> Handlers<CodexSource> {
        handlers.read("thread.read", session::read).effect(
            "session.consume",
            session::plan_consume,
            session::consume,
        )
    }

    fn record_end(folder: &ThreadFolder) -> u64 {
        session::end(folder)
    }

    fn used(folder: &ThreadFolder) -> Option<Usage> {
        session::used(folder)
    }

    fn recorded(folder: &ThreadFolder, from: u64, is_over: &dyn Fn() -> bool) -> Vec<ToolCall> {
        session::calls(folder, from, is_over)
    }

    fn take(turn: &mut Turn, event: &Value) -> Option<TurnProgress> {
        plexus_agent_lines::codex(turn, event)
    }
}
