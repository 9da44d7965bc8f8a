//! A connector over a folder that holds every rule, unless its configuration names a fault: then it breaks one.

use plexus_ipc::{
    message::Secret,
    worker::{
        CallContext, Content, Handlers, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
        SourceContext, SourceError, Touched, on_file_thread,
    },
};
use plexus_protocol::{Digest, Effect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

pub(crate) const MANIFEST: &str = include_str!("manifest.json");

/// What it does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    #[default]
    None,
    /// Every read fails.
    Fails,
    /// An answer has a member more than the schema.
    OneMemberMore,
    /// An answer has a member of another type.
    OtherType,
    /// A read leaves a note of itself.
    ReadWrites,
    /// A plan makes its file already.
    PlanWrites,
    /// With little time, a read answers with nothing.
    EmptyWhenLate,
    /// A read keeps the thread of the runtime.
    BlocksTheRuntime,
    /// A cancelled read keeps its file thread.
    DeafToCancel,
    /// An input it does not like ends in a panic.
    Panics,
    /// A path of any type will do.
    TakesAnything,
    /// A read names nothing.
    NamesNothing,
    /// A read names another thing.
    NamesAnother,
    /// A commit changes a second file.
    ChangesMore,
    /// A constraint is held against the spelling, and so is the record.
    JudgesTheSpelling,
    /// A constraint is held against nothing, and what was read goes by the name that was allowed.
    JudgesNothing,
    /// Links are followed wherever they lead.
    FollowsLinks,
    /// The state token is always the same.
    SameToken,
    /// The state token is never the same.
    OtherToken,
    /// A cancelled commit says that nothing was done, after it wrote.
    ForgetsWhatItDid,
    /// Without its host, a read answers with nothing.
    EmptyWithoutHost,
    /// A read looks at a file that no grant names: `/etc/hostname`.
    LooksOutside,
    /// A read answers with the source's secret.
    TellsItsSecret,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    root: PathBuf,
    fault: Fault,
    token: Option<Secret>,
    host: Option<u16>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    path: PathBuf,
    #[serde(default)]
    fault: Fault,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    path: String,
    limit: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    path: String,
    text: String,
}

impl Source for Faulty {
    type Config = Config;

    async fn open(config: Config, mut secrets: Secrets, _: Role) -> Result<Self, OpenError> {
        Ok(Self {
            root: config.path,
            fault: config.fault,
            token: secrets.take("token"),
            host: None,
        })
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let host = given.egress.map(|egress| egress.port);
        let opened = Self::open(config, given.secrets, given.role).await?;
        Ok(Self { host, ..opened })
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("look", Self::look)
            .effect("put", Self::plan_put, Self::commit_put)
    }
}

impl Faulty {
    async fn look(
        self: Arc<Self>,
        call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        if self.fault == Fault::BlocksTheRuntime {
            thread::sleep(Duration::from_millis(150));
        }
        if let Err(error) = self.ask_the_host().await {
            return match self.fault {
                Fault::EmptyWithoutHost => {
                    Ok(Reply::new(json!({"path": "", "lines": []}), "looked"))
                }
                _ => Err(SourceError::unavailable(error.to_string())),
            };
        }
        on_file_thread(move || self.look_at(&call, input)).await
    }

    /// Waits for a byte of the source's host, if it has one.
    async fn ask_the_host(&self) -> io::Result<()> {
        // Cancelled while it waits here, a call would never be deaf.
        let host = self.host.filter(|_| self.fault != Fault::DeafToCancel);
        let Some(port) = host else { return Ok(()) };
        let mut host = TcpStream::connect(("127.0.0.1", port)).await?;
        host.read_u8().await?;
        Ok(())
    }

    fn look_at(&self, call: &CallContext, input: Value) -> Result<Reply<Value>, SourceError> {
        match self.fault {
            Fault::Fails => return Err(SourceError::unavailable("on purpose")),
            Fault::Panics if !input["path"].as_str().is_some_and(|path| path.is_ascii()) => {
                panic!("on purpose");
            }
            Fault::TakesAnything if !input["path"].is_string() => {
                return Ok(Reply::new(json!({"path": "", "lines": []}), "looked"));
            }
            Fault::EmptyWhenLate if call.remaining() < Duration::from_millis(20) => {
                return Ok(Reply::new(json!({"path": "", "lines": []}), "looked"));
            }
            Fault::DeafToCancel => {
                thread::sleep(Duration::from_millis(10));
                if call.is_over() {
                    thread::sleep(Duration::from_millis(1_500));
                }
            }
            Fault::LooksOutside => {
                let name = fs::read_to_string("/etc/hostname");
                name.map_err(|error| SourceError::denied(error.to_string()))?;
            }
            _ => {}
        }
        let input: Look = serde_json::from_value(input)
            .map_err(|_| SourceError::invalid("not what the schema says"))?;
        let path = self.resolve(call, &input.path)?;
        let text = fs::read_to_string(self.root.join(&path))
            .map_err(|error| SourceError::transport("not_found", error.to_string()))?;
        if self.fault == Fault::ReadWrites {
            let _ = fs::write(self.root.join("last-read"), &path);
        }
        let most = input.limit.map_or(usize::MAX, usize::from);
        let mut lines: Vec<&str> = text.lines().take(most).collect();
        if let (Fault::TellsItsSecret, Some(token)) = (self.fault, &self.token) {
            lines.push(token.expose());
        }
        let mut output = json!({"path": path, "lines": lines});
        match self.fault {
            Fault::OneMemberMore => output["more"] = json!(1),
            Fault::OtherType => output["lines"] = json!(lines.len()),
            _ => {}
        }
        let digest = Some(Digest::of(text.as_bytes()));
        let touched = match self.fault {
            Fault::NamesNothing => Vec::new(),
            Fault::NamesAnother => vec![Touched::read("file", "another", None)],
            // What a dishonest record would say: what the grant allows, and not what was read.
            Fault::JudgesTheSpelling => vec![Touched::read("file", &input.path, digest)],
            Fault::JudgesNothing if !call.allows("path", &path) => Vec::new(),
            _ => vec![Touched::read("file", &path, digest)],
        };
        Ok(Reply::new(output, "looked").touched(touched))
    }

    /// The path of what an input means, as the disk spells it.
    fn resolve(&self, call: &CallContext, path: &str) -> Result<String, SourceError> {
        let miss = || SourceError::constraint_miss("path");
        let confined = || SourceError::transport("path_confinement", "outside of the folder");
        if path.is_empty() || path.contains('\0') || path.len() > 1_000 {
            return Err(SourceError::invalid("no path"));
        }
        if self.fault == Fault::JudgesTheSpelling && !call.allows("path", path) {
            return Err(miss());
        }
        if self.fault == Fault::FollowsLinks {
            if Path::new(path).is_absolute() || path.split('/').any(|part| part == "..") {
                return Err(confined());
            }
            return if call.allows("path", path) {
                Ok(path.to_owned())
            } else {
                Err(miss())
            };
        }
        let joined = self.root.join(path);
        // A file that is to be made has a folder that is there.
        let found = fs::canonicalize(&joined).or_else(|error| {
            let name = joined.file_name().ok_or(error)?;
            Ok::<_, io::Error>(fs::canonicalize(joined.parent().unwrap_or(&joined))?.join(name))
        });
        let found = found.map_err(|_| SourceError::transport("not_found", "no such file"))?;
        let found = found.strip_prefix(&self.root).map_err(|_| confined())?;
        let found = found.to_string_lossy().into_owned();
        let judged = matches!(self.fault, Fault::JudgesTheSpelling | Fault::JudgesNothing);
        if judged || call.allows("path", &found) {
            Ok(found)
        } else {
            Err(miss())
        }
    }

    async fn plan_put(
        self: Arc<Self>,
        call: CallContext,
        input: Put,
    ) -> Result<Plan<(PathBuf, Put)>, SourceError> {
        on_file_thread(move || {
            let path = self.resolve(&call, &input.path)?;
            let place = self.root.join(&path);
            let before = fs::read(&place).unwrap_or_default();
            if self.fault == Fault::PlanWrites {
                let _ = fs::write(&place, &input.text);
            }
            let there = fs::metadata(&place).map_or(0, |about| about.ino());
            let token = match self.fault {
                Fault::SameToken => Digest::of(b"always"),
                Fault::OtherToken => Digest::of(&now().to_le_bytes()),
                _ => Digest::of(format!("{path} {there} {}", Digest::of(&before)).as_bytes()),
            };
            let before = Digest::of(&before);
            let touched = Touched::write("file", &path, Some(before));
            let plan = Plan::new((place, input), token, Preview::new("put"), "put");
            Ok(plan.touched([touched]).before(Content::Is(before)))
        })
        .await
    }

    async fn commit_put(
        self: Arc<Self>,
        call: CallContext,
        (place, put): (PathBuf, Put),
    ) -> Result<Reply<Value>, SourceError> {
        if self.fault == Fault::ForgetsWhatItDid {
            let _ = fs::write(&place, &put.text);
            call.cancelled().await;
            return Err(SourceError::cancelled(Effect::None));
        }
        on_file_thread(move || {
            fs::write(&place, &put.text)
                .map_err(|error| SourceError::transport("io", error.to_string()))?;
            if self.fault == Fault::ChangesMore {
                let _ = fs::write(self.root.join("second"), "x");
            }
            let path = place.strip_prefix(&self.root).unwrap_or(&place);
            let path = path.to_string_lossy().into_owned();
            let digest = Some(Digest::of(put.text.as_bytes()));
            let touched = Touched::write("file", &path, digest);
            Ok(Reply::new(json!({"path": path}), "put").touched([touched]))
        })
        .await
    }
}

fn now() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}
