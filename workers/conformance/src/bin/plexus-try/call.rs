//! The run: start, call, stop; for `--commit` twice, on a copy.

use crate::{
    arguments::Arguments,
    denial::Places,
    observe::{self, Observation, Observer},
};
use anyhow::{Context, Result, bail, ensure};
use plexus_conformance::caged::{Cage, Caged, LAUNCH, StartError};
use plexus_ipc::{
    manifest::{FolderField, Manifest},
    message::{
        Call, Commit, FromWorker, PlanMade, Preview, Role, Stamp, ToWorker, Touched, WorkerError,
    },
    text::Payload,
};
use plexus_protocol::{Digest, Verb, json as strict};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Largest folder that is copied for `--commit`, in bytes and in entries.
const MAX_COPY: (u64, usize) = (256 << 20, 20_000);
/// Beyond the call's own deadline: what the harness and the stream take.
const GRACE: Duration = Duration::from_secs(5);

/// What came of it.
pub(crate) struct Tried {
    pub(crate) capability: String,
    pub(crate) took: Duration,
    pub(crate) came: Result<Answer, String>,
    /// For each run: what was seen, and the places that its rules speak of.
    pub(crate) seen: Vec<(Role, Observation, Places)>,
    /// With `--commit`: paths in the copy that differ afterwards.
    pub(crate) changed: Option<Vec<String>>,
}

/// What the worker answered.
pub(crate) struct Answer {
    pub(crate) output: Option<Value>,
    pub(crate) plan: Option<Preview>,
    pub(crate) touched: Vec<Touched>,
    pub(crate) summary: String,
    /// Of a plan, what its commit is permitted with: its rating, and the token that the owner's approval would name.
    pub(crate) permit: Option<(Verb, Digest)>,
}

/// What to run it with.
struct Setting<'a> {
    arguments: &'a Arguments,
    manifest: String,
    profile: String,
    worker: PathBuf,
    launcher: PathBuf,
    config: Value,
    secrets: BTreeMap<String, String>,
    root: Option<PathBuf>,
    folders: Vec<FolderField>,
    input: Vec<u8>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Tried> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let name = &arguments.name;
    let text = |given: &Option<PathBuf>, usual: String| {
        let path = given.clone().unwrap_or_else(|| workspace.join(usual));
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let manifest = text(&arguments.manifest, format!("workers/{name}/manifest.json"))?;
    let profile = text(&arguments.profile, format!("sandbox-profiles/{name}.sb"))?;
    let parsed = Manifest::parse(&manifest).context("the manifest")?;
    let callable = || {
        let names = parsed.capabilities.iter().filter(|c| c.callable());
        names
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let entry = parsed
        .capability(&arguments.capability)
        .filter(|entry| entry.callable())
        .with_context(|| format!("{name} has {}", callable()))?;
    let is_read = entry.is_read();
    let input = strict::parse(arguments.input.as_bytes()).context("the input")?;
    ensure!(input.is_object(), "the input is no JSON object");
    // The gateway refuses what the schema refuses before any worker sees it; so does this.
    if let Some(schema) = &entry.input {
        let schema = jsonschema::validator_for(schema).context("the input schema")?;
        if let Err(error) = schema.validate(&input) {
            bail!("the input does not fit the schema: {error}");
        }
    }
    let mut config = configuration(arguments, &parsed)?;
    let mut folders = parsed.places(&config);
    for place in &mut folders {
        let path = fs::canonicalize(&place.path);
        let path = path.with_context(|| format!("the folder {}", place.path.display()))?;
        config[&place.field] = json!(path);
        place.path = path;
    }
    let root = parsed
        .root
        .as_ref()
        .map(|field| {
            let mut folders = folders.iter();
            let root = folders.find(|place| place.field == *field);
            let root = root.map(|place| place.path.clone());
            root.with_context(|| format!("{name} serves a folder: name it with --root DIR"))
        })
        .transpose()?;
    let programs = fs::canonicalize(&arguments.programs)
        .with_context(|| format!("the programs in {}", arguments.programs.display()))?;
    let mut setting = Setting {
        arguments,
        worker: fs::canonicalize(programs.join(format!("plexus-worker-{name}")))
            .context("the worker's program; cargo xtask try builds it")?,
        launcher: programs.join("plexus-sandbox-exec"),
        manifest,
        profile,
        config,
        secrets: secrets(arguments, &parsed)?,
        root,
        folders,
        input: strict::canonical(&input),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    if is_read {
        return Ok(runtime.block_on(setting.once(Role::Reader, None, false)));
    }
    if !arguments.commit {
        return Ok(runtime.block_on(setting.once(Role::Reader, None, true)));
    }
    ensure!(parsed.roles.contains(&Role::Writer), "{name} has no writer");
    let field = parsed
        .root
        .as_ref()
        .context("only what serves a folder can be committed on a copy")?;
    let mut others = setting.folders.iter().filter(|place| place.field != *field);
    if let Some(other) = others.find(|place| place.writable) {
        bail!("{} is no copy and would be written", other.path.display());
    }
    let copy = tempfile::tempdir().context("a folder for the copy")?;
    let before = setting.copy_into(&copy, field)?;
    let mut planned = runtime.block_on(setting.once(Role::Reader, None, true));
    let Ok(Answer { permit, .. }) = &planned.came else {
        return Ok(planned);
    };
    let permit = *permit;
    let mut done = runtime.block_on(setting.once(Role::Writer, permit, true));
    if let (Ok(done), Ok(plan)) = (&mut done.came, &mut planned.came) {
        done.plan = plan.plan.take();
    }
    let root = setting.root.clone().unwrap_or_default();
    let after = contents(&root)?;
    let mut changed: Vec<String> = before
        .iter()
        .chain(&after)
        .filter(|(path, digest)| {
            !(before.contains(&(path.clone(), digest.clone()))
                && after.contains(&(path.clone(), digest.clone())))
        })
        .map(|(path, _)| path.clone())
        .collect();
    changed.sort();
    changed.dedup();
    done.changed = Some(changed);
    planned.seen.append(&mut done.seen);
    done.seen = planned.seen;
    Ok(done)
}

fn configuration(arguments: &Arguments, manifest: &Manifest) -> Result<Value> {
    let mut config = json!({});
    for given in &arguments.config {
        let (field, value) = given
            .split_once('=')
            .with_context(|| format!("--config {given}: not FIELD=VALUE"))?;
        // What reads as JSON is JSON, as in a route; all else is text.
        config[field] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    if let Some(root) = &arguments.root {
        let field = manifest
            .root
            .as_ref()
            .context("--root: it serves no folder")?;
        config[field] = json!(root);
    }
    Ok(config)
}

fn secrets(arguments: &Arguments, manifest: &Manifest) -> Result<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    for given in &arguments.secret {
        let (field, file) = given
            .split_once('=')
            .with_context(|| format!("--secret {given}: not FIELD=FILE"))?;
        ensure!(
            manifest.secrets().any(|secret| secret.name == field),
            "--secret {field}: it has no such secret"
        );
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        secrets.insert(field.to_owned(), text.trim_end_matches('\n').to_owned());
    }
    Ok(secrets)
}

impl Setting<'_> {
    /// One process, one call.
    async fn once(&self, role: Role, permit: Option<(Verb, Digest)>, effect: bool) -> Tried {
        let cage = Cage {
            launcher: &self.launcher,
            worker: &self.worker,
            profile: &self.profile,
            manifest: &self.manifest,
            config: &self.config,
            secrets: &self.secrets,
            egress: None,
            role,
            before: observe::before(),
        };
        let begun = Instant::now();
        let (came, seen, scratch) = match cage.spawn() {
            Err(error) => (Err(error.to_string()), Observation::default(), None),
            Ok(spawned) => {
                let scratch = Some(spawned.scratch());
                let observer = Observer::watch(spawned.pid());
                let met = spawned.meet().await;
                let came = self.call(met, role, permit, effect).await;
                (came, observer.finish(), scratch)
            }
        };
        let places = Places {
            folders: self.folders.clone(),
            scratch,
            is_writer: role == Role::Writer,
        };
        Tried {
            capability: format!("{}.{}", self.arguments.name, self.arguments.capability),
            took: begun.elapsed(),
            came,
            seen: vec![(role, seen, places)],
            changed: None,
        }
    }

    async fn call(
        &self,
        met: Result<Caged, StartError>,
        role: Role,
        permit: Option<(Verb, Digest)>,
        effect: bool,
    ) -> Result<Answer, String> {
        let mut caged = met.map_err(|error| error.to_string())?;
        let within = Duration::from_secs(self.arguments.within);
        let call = Call {
            id: 1,
            audit: None,
            owner: false,
            capability: self.arguments.capability.as_str().into(),
            input_digest: Digest::of(&self.input),
            input: Payload::from(self.input.clone()),
            constraint: None,
            deadline_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        let message = match (effect, role) {
            (false, _) => ToWorker::Read(call),
            (true, Role::Reader) => ToWorker::Plan(call),
            (true, Role::Writer) => ToWorker::Commit(Box::new(Commit {
                call,
                state_token: permit.map(|(_, token)| token),
                expect: None,
                conversation: None,
                permit_rating: permit.map_or(Verb::Write, |(rating, _)| rating),
                durable: Stamp {
                    launch: LAUNCH,
                    sequence: 1,
                },
            })),
        };
        let answered = async {
            caged.to.send(message).await.map_err(|e| e.to_string())?;
            loop {
                match caged.from.next().await {
                    Ok(Some(FromWorker::Done(done))) => return answer(done.result, done.touched),
                    Ok(Some(FromWorker::Planned(planned))) => return plan(planned.result),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err("the worker ended in the middle of the call".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        };
        let came = tokio::time::timeout(within + GRACE, answered)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let stopped = async {
            if caged.to.send(ToWorker::Stop).await.is_ok() {
                while let Ok(Some(_)) = caged.from.next().await {}
            }
        };
        // An observer reaps what has ended by itself; what hangs is killed when it is dropped.
        if tokio::time::timeout(GRACE, stopped).await.is_ok() && cfg!(target_os = "linux") {
            caged.leave();
        }
        came
    }

    /// Copies the folder, and serves the copy from now on.
    fn copy_into(&mut self, copy: &TempDir, field: &str) -> Result<Vec<(String, String)>> {
        let from = self.root.clone().context("no folder")?;
        let to = copy.path().canonicalize()?.join("copy");
        let mut left = MAX_COPY;
        copy_folder(&from, &to, &mut left)?;
        self.config[field] = json!(to);
        self.root = Some(to.clone());
        for place in self
            .folders
            .iter_mut()
            .filter(|place| place.field == *field)
        {
            place.path.clone_from(&to);
        }
        contents(&to)
    }
}

fn answer(
    result: Result<plexus_ipc::message::Answer, WorkerError>,
    touched: Vec<Touched>,
) -> Result<Answer, String> {
    let answer = result.map_err(told)?;
    let output = serde_json::from_slice(&answer.output).map_err(|e| e.to_string())?;
    Ok(Answer {
        output: Some(output),
        plan: None,
        touched,
        summary: answer.summary.to_string(),
        permit: None,
    })
}

fn plan(result: Result<PlanMade, WorkerError>) -> Result<Answer, String> {
    let plan = result.map_err(told)?;
    Ok(Answer {
        output: None,
        touched: plan.touched,
        summary: plan.summary.to_string(),
        permit: Some((plan.rating, plan.state_token)),
        plan: Some(plan.preview),
    })
}

fn told(error: WorkerError) -> String {
    format!("{:?}: {}", error.code, error.message)
}

/// Files and folders only: a link would lead out of the copy.
fn copy_folder(from: &Path, to: &Path, left: &mut (u64, usize)) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let (path, about) = (entry.path(), entry.metadata()?);
        left.1 = left
            .1
            .checked_sub(1)
            .context("the folder is too large to copy")?;
        let target = to.join(entry.file_name());
        if about.is_dir() {
            copy_folder(&path, &target, left)?;
        } else if about.is_file() {
            left.0 = left
                .0
                .checked_sub(about.len())
                .context("the folder is too large to copy")?;
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// Every file below, with the digest of its content; every folder.
fn contents(root: &Path) -> Result<Vec<(String, String)>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_string_lossy().into_owned();
            if path.is_dir() {
                found.push((format!("{name}/"), String::new()));
                open.push(path);
            } else {
                found.push((name, Digest::of(&fs::read(&path)?).to_string()));
            }
        }
    }
    Ok(found)
}
