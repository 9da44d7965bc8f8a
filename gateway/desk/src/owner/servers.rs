//! What the owner asks for of a lent MCP server, and a look at it: what it says, which files it is, what differs from before.
//!
//! Invariants: the server runs in its cage, or is asked through an egress, and nothing of the look stays; a secret's value is in
//! no answer.
//!
//! Must not know: what becomes of what was seen.

use super::{
    sign_ins::{self, FIELD},
    sources::known,
    survey::{has_worker, is_installed, surveyed, unfree},
};
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use plexus_calls::{approvals::change, own};
use plexus_edge::reply::Refused;
use plexus_ipc::{
    manifest::{Manifest, McpPins},
    message::{MAX_SECRET, Secret},
    text::Line,
};
use plexus_owner::{
    Done,
    extensions::{
        Draft, OfferedTool, Refresh, ServerChanges, ServerDraft, ServerFacts, ServerPreview,
        ToolCage,
    },
};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId, Verb};
use plexus_sources::{
    Registered, Registry,
    extensions::{self, Generated, IDLE, LISTING, Listing, ServerRequest, agreement},
    let_go,
    naming::{PREVIEW, kind_of},
    secrets,
};
use plexus_supervisor::{KeepSecret, SecretsOf};
use plexus_trust::{Difference, Source, Stopped, Target, pins};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// Most that a preview says of what a server has beside tools, in bytes.
const MOST_FOUND: usize = 4_096;

/// One server is looked at at a time: they share the source's id.
static LOOKING: Mutex<()> = Mutex::const_new(());

/// The refusal of a new server under the name of a source that is there.
pub(super) fn taken(desk: &Desk, name: &SourceId) -> Refused {
    if !is_installed(desk, name.as_str()) {
        let why = format!("There is a source {name} already; choose another name.");
        return Refused::malformed(why);
    }
    let why = format!(
        "There is a server {name} already; remove it first to add it otherwise, or choose another name."
    );
    let error = Refused::malformed(why).into_error();
    Refused::new(error.next(format!("plexusctl mcp refresh {name}")))
}

/// A server that is there, as it was asked for and agreed to.
pub(super) async fn installed(
    desk: &Arc<Desk>,
    id: &str,
) -> Result<(ServerRequest, Manifest), Refused> {
    let none = || {
        let error = ErrorBody::new(
            ErrorCode::NotFound,
            format!("No extension and no MCP server {id:?} is there."),
        );
        Refused::new(error.next("plexusctl mcp list"))
    };
    let name = SourceId::parse(id).map_err(|_| none())?;
    let source = known(desk, id)
        .filter(|_| is_installed(desk, id))
        .ok_or_else(none)?;
    let (here, of) = (desk.clone(), name.clone());
    let text = blocking(move || extensions::stored(&here.state_dir, &of)).await?;
    let text = text.map_err(|error| failed(format!("extensions/{name}.json: {error}")))?;
    let manifest = Manifest::parse(&text).map_err(|why| failed(why.to_string()))?;
    let request = ServerRequest::installed(&name, &manifest, &source.config.route);
    Ok((request.map_err(failed)?, manifest))
}

/// A server that is asked for.
pub(super) struct ServerAsk {
    pub(super) request: ServerRequest,
    /// Of its secrets, those that come with the request.
    pub(super) values: Arc<BTreeMap<String, Zeroizing<String>>>,
    /// The owner's sign-in that it starts with.
    pub(super) sign_in: Option<String>,
    /// Of one that is there, its tools as they were agreed to.
    pub(super) before: Option<McpPins>,
}

/// The secrets that come with a request.
pub(super) fn given_secrets(
    given: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Zeroizing<String>>, Refused> {
    let given = given.into_iter();
    let values: BTreeMap<_, _> = given
        .map(|(name, value)| (name, Zeroizing::new(value)))
        .collect();
    let odd = |value: &Zeroizing<String>| value.is_empty() || value.len() > MAX_SECRET;
    if values.values().any(odd) {
        let why = format!("a secret is empty, or longer than {MAX_SECRET} bytes");
        return Err(Refused::malformed(why));
    }
    Ok(values)
}

impl ServerAsk {
    /// What a draft asks for.
    ///
    /// # Errors
    /// Our own, and those of a request; the inner one: what stands against a manifest.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        draft: Draft,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        match draft {
            Draft::Manifest(draft) => Self::of_manifest(desk, draft).await,
            Draft::Refresh(refresh) => Self::refreshed(desk, refresh).await.map(Ok),
            Draft::Server(draft) => Self::read(desk, draft).map(Ok),
        }
    }

    async fn refreshed(desk: &Arc<Desk>, refresh: Refresh) -> Result<Self, Refused> {
        let (mut request, manifest) = installed(desk, &refresh.name).await?;
        // A read is one by the owner's word, also while it is held back; one that is gone is none any more.
        let held = desk.registry.proposal(&request.name);
        match refresh.reads {
            Some(reads) => request.reads = reads,
            None => request
                .reads
                .extend(held.iter().flat_map(|held| held.reads())),
        }
        Ok(Self {
            request,
            values: Arc::default(),
            sign_in: None,
            before: Some(manifest.mcp.unwrap_or_default()),
        })
    }

    fn read(desk: &Desk, draft: ServerDraft) -> Result<Self, Refused> {
        if known(desk, draft.name.as_str()).is_some() {
            return Err(taken(desk, &draft.name));
        }
        if let Some(why) = unfree(desk, &draft.name, &kind_of(&draft.name)) {
            return Err(Refused::malformed(why));
        }
        let values = given_secrets(draft.secrets)?;
        let mut secrets: BTreeSet<_> = values.keys().cloned().collect();
        let mut tokens = None;
        if let Some(id) = &draft.sign_in {
            let made = desk.sign_ins.made(id);
            let (name, url, at) = made.ok_or_else(sign_ins::gone)?;
            if name != draft.name || draft.url.as_ref() != Some(&url) || !values.is_empty() {
                let why = format!(
                    "the sign-in was made for {name} at {url}, which needs no other secret"
                );
                return Err(Refused::malformed(why));
            }
            secrets.insert(FIELD.to_owned());
            tokens = Some(at);
        }
        Ok(Self {
            request: ServerRequest {
                name: draft.name,
                label: draft.label,
                program: draft.program.unwrap_or_default(),
                url: draft.url,
                arguments: draft.arguments,
                environment: draft.environment,
                secrets,
                sign_in: tokens,
                ca: draft.ca,
                folders: draft.folders,
                code: draft.code,
                hosts: draft.hosts,
                reads: draft.reads,
            },
            values: Arc::new(values),
            sign_in: draft.sign_in,
            before: None,
        })
    }

    /// Where a sign-in that the look renews goes.
    fn keep(&self, desk: &Arc<Desk>) -> Option<KeepSecret> {
        let (desk, id) = (desk.clone(), self.sign_in.clone()?);
        Some(Box::new(move |_, was, now| {
            desk.sign_ins.keep(&id, was, now)
        }))
    }

    /// The secrets of a worker that looks at the server: those of the request, or those that are kept for it.
    fn secrets(&self, desk: &Arc<Desk>, only: &Registry, source: &Source) -> SecretsOf {
        if let Some(id) = self.sign_in.clone() {
            let desk = desk.clone();
            return Box::new(move || {
                let record = desk.sign_ins.record(&id);
                let record = record.ok_or_else(|| io::Error::other("the sign-in was forgotten"))?;
                Ok([(FIELD.to_owned(), record)].into_iter().collect())
            });
        }
        let (values, name) = (self.values.clone(), self.request.name.clone());
        let manifest = only
            .of_source(&source.config)
            .map(|c| c.offer.manifest.clone());
        let kept = manifest.map_or_else(Vec::new, |manifest| {
            secrets::of_source(&manifest, &name, &source.config)
        });
        let state_dir = desk.state_dir.clone();
        Box::new(move || match values.is_empty() {
            true => secrets::read(&state_dir, &name, &kept),
            false => Ok(values
                .iter()
                .map(|(field, value)| (field.clone(), Secret::new(value.to_string())))
                .collect()),
        })
    }
}

/// A server that was looked at.
pub(super) struct InspectedServer {
    listing: Listing,
    /// What it offers and has nothing of.
    idle: BTreeSet<String>,
    pub(super) generated: Generated,
    /// Which files its programs and its own code are, as rules of the source.
    pub(super) files: Vec<String>,
    /// Which folders it has, by field.
    pub(super) folders: BTreeMap<String, Target>,
}

/// What one worker was told, and the source that it looked at.
pub(super) struct WorkerAnswer {
    told: Box<RawValue>,
    source: Source,
}

impl WorkerAnswer {
    /// Asks what is at `request` by a worker of its own, made of `asking`; nothing of the look stays.
    pub(super) async fn at(
        desk: &Arc<Desk>,
        request: &ServerRequest,
        asking: Registered,
        asked: Option<&ServerAsk>,
        (capability, input): (&str, Value),
    ) -> Result<Self, Refused> {
        let unusable = |why: String| Refused::malformed(why);
        has_worker(desk, &asking.offer)?;
        let only = desk.registry.only(asking);
        let id = SourceId::parse(PREVIEW).map_err(|why| failed(why.to_string()))?;
        let body = request.source(&request.name);
        let source = surveyed(desk, &only, &body, id).await.map_err(unusable)?;
        let connector = only.of_source(&source.config);
        let manifest = connector.iter().map(|connector| &connector.offer.manifest);
        let hosts = manifest.flat_map(|manifest| manifest.admitted(&source.config.route));
        let own = desk.address.port();
        if hosts.flatten().any(|(_, host)| host.port == own) {
            let why = format!("{own} is the gateway's own port, which no source is given");
            return Err(unusable(why));
        }
        let files = files(&source);
        let pinned = files.iter().filter(|rule| rule.starts_with(pins::FILES));
        if pinned.count() < request.code.len() {
            let why = "a folder of --code cannot be read as a whole in time, or holds more than 50,000 files or 512 MiB: name the folder of the server alone, or try again";
            return Err(unusable(why.to_owned()));
        }
        if request.url.is_none() && !files.iter().any(|rule| rule.starts_with("program ")) {
            let why = format!("there is no program {}", request.program);
            return Err(Refused::bad(ErrorCode::NotFound, why));
        }
        let looking = LOOKING.lock().await;
        let mut spec = desk.spec_in(&only, &source).await.map_err(unusable)?;
        if let Some(asked) = asked {
            spec.secrets = asked.secrets(desk, &only, &source);
            spec.keep = asked.keep(desk).unwrap_or(spec.keep);
        }
        let told = own::ask_once(&desk.edge.kernel, spec, capability, input).await;
        let here = desk.clone();
        let left = blocking(move || let_go::put_aside(here.state_dir.path(), PREVIEW));
        if let Err(error) = left.await? {
            tracing::warn!(name: "extension.left_behind", %error, "what a server wrote while it was looked at cannot be removed");
        }
        drop(looking);
        let told = told.map_err(Refused::new)?;
        Ok(Self { told, source })
    }

    /// The answer.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let read = serde_json::from_str(self.told.get());
        read.map_err(|why| failed(format!("the worker's answer: {why}")))
    }
}

impl InspectedServer {
    pub(super) async fn at(desk: &Arc<Desk>, asked: &mut ServerAsk) -> Result<Self, Refused> {
        let unusable = |why: String| Refused::malformed(why);
        let there = known(desk, asked.request.name.as_str());
        let there = there.filter(|_| asked.before.is_some() && asked.request.sign_in.is_some());
        let looked = match (there, &asked.sign_in) {
            // Two that renew one sign-in would each use up what the other holds: its own workers are asked.
            (Some(source), None) => {
                let told = own::listing(&desk.edge.kernel, &source, LISTING).await;
                let told = told.map_err(Refused::new)?;
                WorkerAnswer {
                    told,
                    source: (*source).clone(),
                }
            }
            _ => {
                let asking = asked.request.to_ask().map_err(unusable)?;
                let question = (LISTING, Value::Object(Default::default()));
                WorkerAnswer::at(desk, &asked.request, asking, Some(asked), question).await?
            }
        };
        let (listing, source): (Listing, _) = (looked.read()?, looked.source);
        let files = files(&source);
        let request = &mut asked.request;
        let idle = listing.idle(asked.before.as_ref());
        if asked.before.is_some() {
            // One that is gone is no read any more.
            let definitions = listing.definitions();
            let there = definitions.iter().map(|d| d.name);
            let there: BTreeSet<_> = there.filter(|name| !idle.contains(*name)).collect();
            request.reads.retain(|read| there.contains(&**read));
        }
        // Schemas of a third party are compiled.
        let (wanted, told, held) = (request.clone(), listing.clone(), idle.clone());
        let generated = blocking(move || wanted.generate(&told, &held)).await?;
        Ok(Self {
            listing,
            idle,
            generated: generated.map_err(unusable)?,
            files,
            folders: source.paths,
        })
    }

    pub(super) fn digest(&self) -> String {
        agreement(&self.generated.text, &self.files, &self.folders).to_string()
    }

    /// The whole surface.
    pub(super) fn shown(&self, request: &ServerRequest) -> ServerPreview {
        let refused = |name: &str| {
            let mut refused = self.generated.refused.iter();
            refused.find(|(known, _)| known == name).map(|(_, why)| why)
        };
        let definitions = self.listing.definitions();
        let tools = definitions.into_iter().map(|definition| {
            let name = definition.name;
            let is_read = request.reads.contains(name);
            let mut description = definition.description.to_string();
            let found = definition.method.and_then(|m| self.listing.found_by(m));
            if let Some(found) = found {
                description += &format!("\nNow: {}", Line::<MOST_FOUND>::new(&found));
            }
            let refused = match definition.method {
                None => refused(name).cloned(),
                Some(_) => self.idle.contains(name).then(|| IDLE.to_owned()),
            };
            OfferedTool {
                name: name.to_owned(),
                description,
                input: definition.input.into_owned(),
                claims: definition.claims.cloned().unwrap_or_default(),
                verbs: [if is_read { Verb::Read } else { Verb::Execute }],
                cage: match (&request.url, is_read) {
                    (Some(_), _) => ToolCage::None,
                    (None, true) => ToolCage::Reader,
                    (None, false) => ToolCage::Writer,
                },
                refused,
            }
        });
        let rules = |begin: &[&str]| -> Vec<String> {
            let of = |rule: &&String| begin.iter().any(|begin| rule.starts_with(begin));
            self.files.iter().filter(of).cloned().collect()
        };
        ServerPreview {
            server: facts(request),
            ok: Done,
            digest: self.digest(),
            resolved: rules(&["program "]).into_iter().next(),
            pinned: rules(&[pins::FILES, pins::SCRIPT]),
            changeable: rules(&[pins::CHANGEABLE]),
            server_info: self.listing.server_info.clone(),
            instructions: self
                .listing
                .instructions
                .clone()
                .filter(|words| !words.is_empty()),
            tools: tools.collect(),
            as_extension: None,
            changes: None,
        }
    }

    /// What is not as it was agreed to.
    pub(super) fn changes(&self, before: &McpPins) -> ServerChanges {
        let now = Manifest::parse(&self.generated.text)
            .ok()
            .and_then(|m| m.mcp);
        let now = now.unwrap_or_default();
        let is_known =
            |name: &String| before.tools.contains_key(name) || before.withheld.contains_key(name);
        let new = now.tools.keys().filter(|name| !is_known(name));
        let gone = before
            .tools
            .keys()
            .filter(|name| !now.tools.contains_key(*name));
        let other = now
            .tools
            .iter()
            .filter(|(name, digest)| is_known(name) && before.tools.get(*name) != Some(*digest));
        ServerChanges {
            new: new.cloned().collect(),
            gone: gone.cloned().collect(),
            changed: other.map(|(name, _)| name.clone()).collect(),
            instructions: now.instructions != before.instructions,
            files: Vec::new(),
            unchanged: false,
        }
    }

    /// What it runs that is not what the owner agreed to, in the words of the card of a source that is stopped for it.
    pub(super) async fn other_code(&self, desk: &Desk, name: &SourceId) -> Vec<String> {
        let source = known(desk, name.as_str()).filter(|source| source.pins.is_some());
        let Some(source) = source else {
            return Vec::new();
        };
        let stopped = Stopped {
            at: desk.clock.now(),
            found: self.files.clone(),
            denied: false,
        };
        change::words(&Difference {
            words: extensions::file_changes(&desk.state_dir, &source, &self.files).await,
            ..stopped.difference(source.agreed())
        })
    }

    /// Whether a source is what its owner agreed to, as a whole, and no decision on it is due.
    pub(super) async fn is_agreed(
        &self,
        desk: &Arc<Desk>,
        name: &SourceId,
    ) -> Result<bool, Refused> {
        let Some(source) = known(desk, name.as_str()) else {
            return Ok(false);
        };
        let is_due = source.stopped.is_some()
            || desk.registry.proposal(name).is_some()
            || desk.ledger.snapshot().asks_about(&source, desk.clock.now());
        let (here, of) = (desk.clone(), name.clone());
        let agreed = blocking(move || extensions::stored(&here.state_dir, &of)).await?;
        Ok(!is_due
            && agreed.is_ok_and(|agreed| agreed == self.generated.text)
            && pins::same(source.agreed(), &self.files)
            && source.paths == self.folders)
    }
}

/// What the owner has said of it. Values of variables may be secrets: only their names are shown.
pub(super) fn facts(request: &ServerRequest) -> ServerFacts {
    ServerFacts {
        name: request.name.clone(),
        program: request.program.clone(),
        url: request.url.clone(),
        secrets: request.secrets.clone(),
        arguments: request.arguments.clone(),
        environment: request.environment.keys().cloned().collect(),
        folders: request.folders.clone(),
        code: request.code.clone(),
        hosts: request.hosts.clone(),
        sign_in: request.sign_in.clone(),
        ca: request.ca.clone(),
        reads: request.reads.clone(),
        network: request.url.is_some() || !request.hosts.is_empty(),
    }
}

/// The rules of a source that say which files its programs and its own code are, and which of them agents can change.
fn files(source: &Source) -> Vec<String> {
    source.found().to_vec()
}
