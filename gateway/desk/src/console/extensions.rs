//! Extensions and MCP servers as a page: what is installed, and three forms that show what one may reach before it is added.
//!
//! ```text
//! form ─preview─▶ (a sign-in, where the server asks for one) ─▶ surface with its digest ─add, with the same form and that digest─▶ installed | refused: it differs
//! a client's block ─preview─▶ its servers, each with why not, or chosen ─▶ the same two steps
//! ```
//! Invariants: what is added is what was shown, by its digest; a secret is in the request that brings it, and in no page.
//!
//! Must not know: how a manifest is read, or a server looked at.

use super::{
    Noted,
    foreign::ForeignText,
    gone,
    links::{Begin, Stretch},
    sent, sheet, shell,
    sign_in::{self, OwnClient},
    words,
};
use crate::{acting::Narrowing, acts::blocking, desk::Desk, owner::extensions, table::Reading};
use askama::Template;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use plexus_edge::reply::{self, Refused};
use plexus_home::inspection;
use plexus_owner::{
    client_servers::{ClientServer, Offered, ThisMachine, servers_of},
    extensions::{
        Add, Draft, ExtensionRow, InstallResult, List, ManifestDraft, Preview, ServerDraft,
    },
};
use plexus_protocol::{SourceId, json as strict};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Template)]
#[template(path = "extensions.html")]
struct Page {
    rows: Vec<Row>,
    stretch: Stretch,
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
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(at): Begin,
) -> Result<Response, Refused> {
    let listed = extensions::list(desk.clone(), Reading, List {}).await?;
    shell::rendered(&desk, move || {
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
                .map(|why| ForeignText::short(words::found(why), 300)),
        };
        let stretch = Stretch::of(at, listed.extensions.len(), |from| {
            format!("/admin/extensions?from={from}")
        });
        Page {
            rows: stretch.part(&listed.extensions).map(row).collect(),
            stretch,
        }
        .render()
    })
    .await
}

/// The form of an MCP server. No `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServerForm {
    name: String,
    program: Option<String>,
    url: Option<String>,
    #[serde(default)]
    arguments: String,
    #[serde(default)]
    folders: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    hosts: String,
    ca: Option<String>,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    secrets: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    /// The owner's sign-in that it starts with.
    sign_in: Option<String>,
    /// Its tools that only read, of those that the look found.
    #[serde(default)]
    reads: BTreeSet<String>,
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

    /// Its fields that a refusal may name the value of, each with its lines.
    fn typed(&self) -> Vec<(&'static str, Vec<String>)>;

    /// Who Plexus is where the owner signs in.
    fn client(&mut self) -> OwnClient {
        OwnClient::default()
    }
}

impl Form for ServerForm {
    fn add(self) -> Result<Add, Refused> {
        let name = SourceId::parse(self.name.trim()).map_err(|why| {
            let why = format!("Choose another id: this is {why}.");
            Refused::malformed(why).about("name")
        })?;
        let is_whole = |program: &String| program.starts_with('/');
        if self.url.is_none() && !self.program.as_ref().is_some_and(is_whole) {
            return Err(Refused::malformed(PROGRAM).about("program"));
        }
        let draft = ServerDraft {
            name,
            label: None,
            program: self.program,
            url: self.url,
            arguments: lines(&self.arguments),
            environment: pairs(&self.environment).map_err(|why| why.about("environment"))?,
            secrets: pairs(&self.secrets).map_err(|why| why.about("secrets"))?,
            folders: lines(&self.folders),
            code: lines(&self.code),
            hosts: lines(&self.hosts),
            sign_in: self.sign_in,
            ca: self.ca,
            reads: self.reads,
        };
        Ok(Add {
            draft: Draft::Server(draft),
            digest: self.digest,
            keep_secrets: self.keep_secrets,
        })
    }

    fn typed(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |text: &Option<String>| text.iter().cloned().collect();
        vec![
            ("url", one(&self.url)),
            ("program", one(&self.program)),
            ("code", lines(&self.code)),
            ("folders", lines(&self.folders)),
            ("hosts", lines(&self.hosts)),
            ("ca", one(&self.ca)),
        ]
    }

    fn client(&mut self) -> OwnClient {
        OwnClient {
            client_id: self.client_id.take(),
            client_secret: self.client_secret.take(),
            scope: self.scope.take(),
        }
    }
}

impl Form for ManifestForm {
    fn add(self) -> Result<Add, Refused> {
        let manifest = strict::parse(self.manifest.as_bytes()).map_err(|why| {
            Refused::malformed(format!("The manifest is no JSON: {why}.")).about("manifest")
        })?;
        let folders = pairs(&self.folders).map_err(|why| why.about("folders"))?;
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

    fn typed(&self) -> Vec<(&'static str, Vec<String>)> {
        let folders = lines(&self.folders).into_iter();
        let paths = folders.filter_map(|line| Some(line.split_once('=')?.1.trim().to_owned()));
        vec![("folders", paths.collect())]
    }
}

const PROGRAM: &str =
    "Name the program with its whole path, such as /usr/bin/python3; or the address of a server.";

/// The same refusal in the words of the page, at the field that it is about: by what it is of, or by the value that it names.
fn in_page(refused: Refused, typed: &[(&'static str, Vec<String>)]) -> Refused {
    let why = refused.why().to_owned();
    let of_code = "a folder of --code";
    let of_both = "--folder names what it may change, --code what it only reads";
    let names = |values: &Vec<String>| {
        let mut values = values.iter();
        values.any(|value| value.len() > 3 && why.contains(value.as_str()))
    };
    let (field, words) = if why.contains("its path is not absolute, or not in its one spelling") {
        (Some("program"), PROGRAM.to_owned())
    } else if why.contains(of_code) {
        (
            Some("code"),
            why.replace(of_code, "a folder with its own files"),
        )
    } else if why.contains(of_both) {
        // Programs mostly miss their own files, whose field may be folded away.
        let both = "name what it may change under “Folders that it works in”, and what it only reads under “Folders with its own files”";
        (Some("code"), why.replace(of_both, both))
    } else if why.starts_with("There is a s") && why.contains("choose another name") {
        (Some("name"), why)
    } else {
        let field = typed.iter().find(|(_, values)| names(values));
        (field.map(|(field, _)| *field), why)
    };
    let refused = refused.worded(words);
    match field {
        Some(field) => refused.about(field),
        None => refused,
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
    let pair = |(at, line): (usize, &str)| match line.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => {
            let why = format!("Line {} has no name and “=” before its value.", at + 1);
            Err(Refused::malformed(why))
        }
    };
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(pair)
        .collect()
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
    let mut form = sent::<F>(request).await?;
    let (client, typed) = (form.client(), form.typed());
    let made = looked(&desk, narrowing, form.add()?.draft, client).await;
    shell::made(&desk, made.map_err(|refused| in_page(refused, &typed))?)
}

/// What a form comes to: the sign-in that its server asks for first, or what would be added.
async fn looked(
    desk: &Arc<Desk>,
    narrowing: Narrowing,
    draft: Draft,
    client: OwnClient,
) -> Result<Result<String, askama::Error>, Refused> {
    if let Some(sign_in) = sign_in::wanted(desk, &narrowing, &draft, client).await? {
        return Ok(sign_in);
    }
    let (sign_in, classes) = match &draft {
        Draft::Server(server) => (server.sign_in.clone(), true),
        Draft::Manifest(_) | Draft::Refresh(_) => (None, false),
    };
    let seen = extensions::preview(desk.clone(), narrowing, Preview { draft }).await?;
    blocking(move || sheet::previewed(&seen, sign_in, classes)).await
}

async fn add<F: Form>(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let form = sent::<F>(request).await?;
    let typed = form.typed();
    let added = extensions::add(desk, narrowing, form.add()?).await;
    let added = added.map_err(|refused| in_page(refused, &typed))?;
    Ok(reply::ok(&noted(added)))
}

/// What was added, with the secrets that it still needs in words.
fn noted(done: InstallResult) -> Noted<InstallResult> {
    let notes = match &done {
        InstallResult::Extension(added) => {
            let missing = added.secrets_missing.iter();
            missing.map(words::secret_missing).collect()
        }
        InstallResult::Server(_) => Vec::new(),
    };
    Noted { done, notes }
}

/// The form of a client's own list of servers. No `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientForm {
    block: String,
    /// The one that is looked at or added.
    server: Option<SourceId>,
    /// The owner's sign-in that it starts with.
    sign_in: Option<String>,
    /// Its tools that only read, of those that the look found.
    #[serde(default)]
    reads: BTreeSet<String>,
    digest: Option<String>,
    #[serde(default)]
    keep_secrets: Vec<String>,
}

impl ClientForm {
    /// The servers of the block. What is wrong with it is said without a part of it, which may be a secret.
    async fn servers(&self) -> Result<Vec<ClientServer>, Refused> {
        let block = strict::parse(self.block.as_bytes()).map_err(|_| {
            Refused::malformed("This is no JSON. Paste the block with its braces, or the whole file; a server out of a TOML file is added by hand, above.").about("block")
        })?;
        let look = move || servers_of(&block, &ThisMachine);
        // Whatever disk the block names: one look at a time, and for a bounded time.
        let found = inspection::at(Path::new("/"), look).await;
        let found = found.map_err(|error| {
            Refused::malformed(format!("The block names a folder, and {error}.")).about("block")
        })?;
        found.ok_or_else(|| Refused::malformed("There is no `mcpServers` in it.").about("block"))
    }

    fn add(self, servers: &[ClientServer]) -> Result<Add, Refused> {
        let id = self
            .server
            .ok_or_else(|| Refused::malformed("Choose a server."))?;
        let chosen = servers.iter().find(|one| one.id.as_ref() == Some(&id));
        let offered = chosen.ok_or_else(gone)?.offered.as_ref();
        let offered = offered.map_err(Refused::malformed)?;
        let mut draft = offered.draft(id).map_err(Refused::malformed)?;
        draft.sign_in = self.sign_in;
        draft.reads = self.reads;
        Ok(Add {
            draft: Draft::Server(draft),
            digest: self.digest,
            keep_secrets: self.keep_secrets,
        })
    }
}

/// Servers of a block on its page.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "client_servers.html")]
struct ClientPage {
    servers: Vec<ServerChoice>,
    /// Servers of the block that are not shown.
    more: usize,
    can_choose: bool,
    /// What one of them is follows.
    is_looked_into: bool,
}

/// A server of the block.
struct ServerChoice {
    name: ForeignText,
    /// The source that it is, or would be.
    id: String,
    is_chosen: bool,
    is_there: bool,
    facts: Vec<(&'static str, ForeignText)>,
    refused: Option<ForeignText>,
}

impl ServerChoice {
    /// `room`: bytes of its facts, about.
    fn of(
        server: &ClientServer,
        is_there: impl Fn(&SourceId) -> bool,
        chosen: Option<&SourceId>,
        room: usize,
    ) -> Self {
        let id = server.id.as_ref();
        let is_chosen = id.is_some() && id == chosen;
        let offered = server.offered.as_ref();
        Self {
            name: ForeignText::short(&server.name, 120),
            is_chosen,
            is_there: id.is_some_and(is_there),
            id: id.map(ToString::to_string).unwrap_or_default(),
            facts: offered.map_or_else(|_| Vec::new(), |offered| facts(offered, room)),
            refused: server
                .offered
                .as_ref()
                .err()
                .map(|why| ForeignText::short(why, 400)),
        }
    }
}

/// All that a server would be given, in about `room` bytes. Of secrets and variables the names alone.
fn facts(offered: &Offered, room: usize) -> Vec<(&'static str, ForeignText)> {
    let paths = |all: &[PathBuf]| all.iter().map(|path| path.display().to_string()).collect();
    let program = offered.program.iter();
    let all: [(&str, Vec<String>); 6] = [
        ("URL", offered.url.iter().cloned().collect()),
        (
            "program",
            program
                .flat_map(|(program, arguments)| std::iter::once(program).chain(arguments))
                .cloned()
                .collect(),
        ),
        ("secrets", offered.secrets.keys().cloned().collect()),
        ("variables", offered.environment.keys().cloned().collect()),
        ("may change", paths(&offered.folders)),
        ("reads", paths(&offered.code)),
    ];
    let said: Vec<_> = all
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .collect();
    let room = room / said.len().max(1);
    said.into_iter()
        .map(|(what, values)| (what, ForeignText::short(&values.join(" "), room)))
        .collect()
}

/// The routes of the form of a client's list.
pub(super) fn client_form() -> Router<Arc<Desk>> {
    Router::new()
        .route("/extensions/client/preview", post(look_into_client))
        .route("/extensions/client/add", post(add_of_client))
}

async fn look_into_client(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let form: ClientForm = sent(request).await?;
    let servers = form.servers().await?;
    let chosen = form.server.clone();
    // Servers that can be added come first.
    let state = desk.ledger.snapshot();
    let is_there = |id: &SourceId| state.sources.contains_key(id);
    let mut choices: Vec<_> = servers.iter().collect();
    choices.sort_by_key(|server| server.id.as_ref().is_none_or(is_there));
    let choices = choices.into_iter().take(SHOWN);
    let room = (16_000 / choices.len().max(1)).clamp(160, 2_000);
    let choices: Vec<_> = choices
        .map(|server| ServerChoice::of(server, is_there, chosen.as_ref(), room))
        .collect();
    let list = ClientPage {
        can_choose: choices
            .iter()
            .any(|one| one.refused.is_none() && !one.is_there),
        servers: choices,
        more: servers.len().saturating_sub(SHOWN),
        is_looked_into: chosen.is_some(),
    };
    let list = list.render();
    if chosen.is_none() {
        return shell::made(&desk, list);
    }
    let draft = form.add(&servers)?.draft;
    let seen = looked(&desk, narrowing, draft, OwnClient::default()).await;
    let seen = seen.map_err(|refused| in_page(refused, &[]))?;
    let both = list.and_then(|list| Ok(list + &seen?));
    shell::made(&desk, both)
}

async fn add_of_client(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let form: ClientForm = sent(request).await?;
    let servers = form.servers().await?;
    let added = extensions::add(desk, narrowing, form.add(&servers)?).await;
    let added = added.map_err(|refused| in_page(refused, &[]))?;
    Ok(reply::ok(&noted(added)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_field_that_helps() {
        let typed = [("program", vec!["/usr/bin/python3".to_owned()])];
        let shown = |why: &str| {
            let error = in_page(Refused::malformed(why), &typed).into_error();
            serde_json::to_string(&error).expect("JSON")
        };
        let missing = shown(
            "/usr/bin/python3 ended: --folder names what it may change, --code what it only reads",
        );
        assert!(missing.contains(r#""field":"code""#), "{missing}");
        assert!(
            missing.contains("under “Folders with its own files”"),
            "{missing}"
        );
        let away = shown("/usr/bin/python3 is not there");
        assert!(away.contains(r#""field":"program""#), "{away}");
    }
}
