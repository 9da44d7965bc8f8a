//! An MCP server that is lent by a manifest of the transport `mcp`: the same look, digest and pins as of one that is lent by
//! its program or URL; the answers have the members of an extension as well.
//!
//! Invariants: a server that is there stays the one that it is, and a stored secret goes to no other one: a manifest of that
//! source changes which tools only read, and nothing else.
//!
//! Must not know: how a server is looked at.

use super::{
    servers::{InspectedServer, ServerAsk, given_secrets, installed},
    sources::known,
    survey::{imitated, unfree},
};
use crate::desk::Desk;
use plexus_edge::reply::Refused;
use plexus_ipc::manifest::Manifest;
use plexus_owner::{
    Done,
    extensions::{ManifestDraft, ServerExtension, ServerPreview},
    pending::Surface,
};
use plexus_sources::{
    extensions::{LISTING, NamedFolders, ServerRequest},
    naming::kind_of,
};
use serde_json::json;
use std::sync::Arc;

impl ServerAsk {
    /// What a manifest of the transport `mcp` asks for.
    ///
    /// # Errors
    /// Our own; the inner one: what stands against it.
    pub(super) async fn of_manifest(
        desk: &Arc<Desk>,
        draft: ManifestDraft,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let there = known(desk, draft.source());
        let manifest = draft.manifest.unwrap_or_default();
        let values = given_secrets(draft.secrets)?;
        let named = NamedFolders {
            given: &draft.folders.unwrap_or_default(),
            there: there.as_ref().map(|source| &source.config.route),
        };
        let request = match ServerRequest::of_manifest(&manifest, named, &desk.registry) {
            Ok(request) => request,
            Err(reasons) => return Ok(Err(reasons)),
        };
        let name = &request.name;
        let mut reasons = Vec::new();
        let label = request.label.as_deref().unwrap_or(name.as_str());
        reasons.extend(imitated(desk, name, label));
        let mut before = None;
        if let Some(why) = unfree(desk, name, &kind_of(name)) {
            reasons.push(why);
        } else if there.is_some() {
            let (agreed, manifest) = installed(desk, name.as_str()).await?;
            if !request.is_same_server(&agreed) {
                reasons.push(format!(
                    "{name} is there with another program, URL, folders or variables, and its secrets and grants are of that one: plexusctl mcp remove {name}, and add it again"
                ));
            }
            if !values.is_empty() {
                reasons.push(format!(
                    "{name} has its secrets already; to set another: plexusctl sources secret {name} SECRET"
                ));
            }
            before = Some(manifest.mcp.unwrap_or_default());
        } else {
            let missing = request.secrets.iter().filter(|s| !values.contains_key(*s));
            reasons.extend(missing.map(|missing| format!(
                "the server starts with its secret {missing}, which is not given: plexusctl extension add FILE --secret {missing}=FILE"
            )));
            let stray = values.keys().filter(|s| !request.secrets.contains(*s));
            reasons.extend(stray.map(|stray| format!("the manifest declares no secret {stray:?}")));
        }
        if !reasons.is_empty() {
            return Ok(Err(reasons));
        }
        Ok(Ok(Self {
            request,
            values: Arc::new(values),
            sign_in: None,
            before,
        }))
    }
}

impl InspectedServer {
    /// What a preview of a manifest has beside what the server says.
    pub(super) fn shown_of_manifest(&self, request: &ServerRequest) -> ServerPreview {
        let mut shown = self.shown(request);
        // A manifest holds no secret, and its author may be another than the owner.
        let variables = request.environment.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        shown.server.environment = variables.collect();
        let tools = self.lent(request).into_iter();
        let tools = tools.map(
            |(id, verb)| json!({"id": id, "kind": "capability", "transport": "mcp", "verbs": [verb]}),
        );
        let program = request.url.is_none().then_some(&request.program);
        let data = [
            ("transport", json!("mcp")),
            ("capabilities", tools.collect()),
            ("cliBins", json!(program.as_slice())),
            ("restHosts", json!(request.url.as_slice())),
            ("crossSource", json!([])),
            ("transportBacked", json!(true)),
        ];
        shown.as_extension = Some(ServerExtension {
            valid: Done,
            reasons: [],
            surface: Surface {
                source: request.name.clone(),
                label: request.label.clone().unwrap_or_default(),
                data: data
                    .map(|(name, value)| (name.to_owned(), value))
                    .into_iter()
                    .collect(),
                sections: Vec::new(),
            },
        });
        shown
    }

    /// The ids of the tools that are lent, each with its verb.
    pub(super) fn lent(&self, request: &ServerRequest) -> Vec<(String, &'static str)> {
        let manifest = Manifest::parse(&self.generated.text).ok();
        let tools = manifest.iter().flat_map(|manifest| &manifest.capabilities);
        let tools = tools.filter(|tool| tool.name != LISTING);
        let verb = |is_read| if is_read { "read" } else { "execute" };
        tools
            .map(|tool| {
                (
                    format!("{}.{}", request.name, tool.name),
                    verb(tool.is_read()),
                )
            })
            .collect()
    }
}
