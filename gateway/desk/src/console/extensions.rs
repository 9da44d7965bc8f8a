//! Extensions and MCP servers as a page: what is installed, and two forms that show what one may reach before it is added.
//!
//! ```text
//! form ─preview─▶ surface with its digest ─add, with the same form and that digest─▶ installed | refused: it differs
//! ```
//! Invariants: what is added is what was shown, by its digest; a secret is in the request that brings it, and in no page.
//!
//! Must not know: how a manifest is read, or a server looked at.

use super::{blocking, foreign::ForeignText, sent, sheet, shell};
use crate::{acting::Narrowing, desk::Desk, owner::extensions, table::Reading};
use askama::Template;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use plexus_edge::reply::{self, Refused};
use plexus_owner::extensions::{
    Add, Draft, ExtensionRow, List, ManifestDraft, Preview, ServerDraft,
};
use plexus_protocol::{SourceId, json as strict};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Template)]
#[template(path = "extensions.html")]
struct Page {
    rows: Vec<Row>,
}

struct Row {
    source: String,
    label: ForeignText,
    kind: String,
    count: usize,
    configured: bool,
    unusable: Option<ForeignText>,
}

/// What is installed, and the forms.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let listed = extensions::list(desk.clone(), Reading, List {}).await?;
    let made = blocking(move || {
        let row = |row: &ExtensionRow| Row {
            source: row.source.clone(),
            label: ForeignText::short(&row.label, 80),
            kind: match row.is_server() {
                true => "MCP server".to_owned(),
                false => format!("extension ({})", row.transport),
            },
            count: row.tools.unwrap_or(row.capabilities.len()),
            configured: row.configured,
            unusable: row
                .unusable
                .as_deref()
                .map(|why| ForeignText::short(why, 300)),
        };
        Page {
            rows: listed.extensions.iter().map(row).collect(),
        }
        .render()
    })
    .await?;
    shell::made(&desk, made)
}

/// The form of an MCP server. No `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServerForm {
    name: SourceId,
    program: Option<String>,
    url: Option<String>,
    #[serde(default)]
    arguments: String,
    #[serde(default)]
    folders: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    secrets: String,
    digest: Option<String>,
    #[serde(default)]
    keep_secrets: Vec<String>,
}

/// The form of an extension by manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ManifestForm {
    manifest: String,
    #[serde(default)]
    folders: String,
    digest: Option<String>,
    #[serde(default)]
    keep_secrets: Vec<String>,
}

/// A form, as what is to be installed and what was agreed to.
pub(super) trait Form: DeserializeOwned + Send + 'static {
    fn add(self) -> Result<Add, Refused>;
}

impl Form for ServerForm {
    fn add(self) -> Result<Add, Refused> {
        let draft = ServerDraft {
            name: self.name,
            label: None,
            program: self.program,
            url: self.url,
            arguments: lines(&self.arguments),
            environment: pairs(&self.environment)?,
            secrets: pairs(&self.secrets)?,
            folders: lines(&self.folders),
            code: lines(&self.code),
            reads: Default::default(),
        };
        Ok(Add {
            draft: Draft::Server(draft),
            digest: self.digest,
            keep_secrets: self.keep_secrets,
        })
    }
}

impl Form for ManifestForm {
    fn add(self) -> Result<Add, Refused> {
        let manifest = strict::parse(self.manifest.as_bytes())
            .map_err(|why| Refused::malformed(format!("the manifest is no JSON: {why}")))?;
        let folders = pairs(&self.folders)?;
        let draft = ManifestDraft {
            manifest: Some(manifest),
            folders: (!folders.is_empty()).then_some(folders),
            secrets: BTreeMap::new(),
        };
        Ok(Add {
            draft: Draft::Manifest(draft),
            digest: self.digest,
            keep_secrets: self.keep_secrets,
        })
    }
}

/// Lines that say something.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Lines of the form `NAME=value`. What is wrong is said without the value, which may be a secret.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, Refused> {
    let pair = |line: String| match line.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(Refused::malformed("each line is NAME=value, or name=path")),
    };
    lines(text).into_iter().map(pair).collect()
}

/// The routes of a form: looked at first, then added.
pub(super) fn form<F: Form>(name: &str) -> Router<Arc<Desk>> {
    let at = |step: &str| format!("/extensions/{name}/{step}");
    Router::new()
        .route(&at("preview"), post(preview::<F>))
        .route(&at("add"), post(add::<F>))
}

async fn preview<F: Form>(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let draft = sent::<F>(request).await?.add()?.draft;
    let seen = extensions::preview(desk.clone(), narrowing, Preview { draft }).await?;
    let made = blocking(move || sheet::previewed(&seen)).await?;
    shell::made(&desk, made)
}

async fn add<F: Form>(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let call = sent::<F>(request).await?.add()?;
    let added = extensions::add(desk, narrowing, call).await?;
    Ok(reply::ok(&added))
}
