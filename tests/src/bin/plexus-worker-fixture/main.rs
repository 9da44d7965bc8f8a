//! The worker of the fixture source: each capability does one thing wrong, on demand, over the harness that every
//! worker uses.
//!
//! Effects append one line to `effects.log` in the source's folder, `<audit id> <line>`, so that a test counts what was
//! really done. If `honest` lies beside it, the source answers `Settle` from that file; else it cannot tell.
//!
//! Must not know: anything of the daemon but its protocol.

mod os;

use plexus_ipc::worker::{
    CallContext, EgressAccess, Handlers, NoInput, OpenError, Plan, Preview, Reply, Role, Secrets,
    Source, SourceContext, SourceError, Touched, Verdict, children::Children, on_file_thread,
};
use plexus_protocol::{AuditId, Digest, Effect, Verb};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// The file that effects go to.
const LOG: &str = "effects.log";
/// The kind of what an effect touches.
const KIND: &str = "file";
/// More memory than the manifest allows, in bytes.
const MUCH: usize = 288 << 20;

fn main() -> ExitCode {
    plexus_ipc::worker::main::<Fixture>(plexus_tests::editions::manifest(&edition()).leak())
}

/// Which edition it is says the folder it lies in; any folder that names none is the first edition.
fn edition() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let folder = program.as_deref().and_then(std::path::Path::parent);
    let edition = folder.and_then(|f| f.file_name()?.to_str()).unwrap_or("");
    edition.to_owned()
}

struct Fixture {
    root: PathBuf,
    egress: Option<EgressAccess>,
    children: Option<Children>,
}

#[derive(Deserialize)]
struct Config {
    path: PathBuf,
}

impl Source for Fixture {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("opened with all that it is given"))
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        if given.secrets.get("token").is_some() {
            return Err(OpenError::internal("given a secret that is not its own"));
        }
        if config.path.join("exits").exists() {
            std::process::exit(3);
        }
        if config.path.join("unopenable").exists() {
            return Err(OpenError::unavailable("told not to open"));
        }
        Ok(Self {
            root: config.path,
            egress: given.egress,
            children: given.children,
        })
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        if !self.root.join("honest").exists() {
            return Verdict::CannotTell;
        }
        if self.log().contains(intent.as_str()) {
            Verdict::Happened
        } else {
            Verdict::DidNot
        }
    }

    fn handlers() -> Handlers<Self> {
        let handlers = match edition().as_str() {
            "children" | "tools" => Handlers::new().read("child", Self::child),
            "lists" => Handlers::new()
                .read("lists", Self::listed)
                .read("listed", Self::listed),
            _ => Handlers::new(),
        };
        handlers
            .read("echo", Self::echo)
            .read("slow", Self::slow)
            .read("brief", Self::slow)
            .read("long", Self::slow)
            .read("big", Self::big)
            .read("garbage", Self::garbage)
            .read("crash", Self::crash)
            .read("fail", Self::fail)
            .read("send", Self::send)
            .read("attack", Self::attack)
            .effect("count", Self::plan_count, Self::commit)
            .effect("run", Self::plan_run, Self::commit)
            .effect("both", Self::plan_both, Self::commit)
            .effect("stream", Self::plan_stream, Self::stream)
    }
}

#[derive(Deserialize)]
struct Started {
    child: String,
    run: String,
    arguments: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Wait {
    ms: u64,
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

#[derive(Deserialize)]
struct How {
    how: String,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

#[derive(Deserialize)]
struct Sent {
    head: String,
    tunnelled: Option<String>,
}

#[derive(Deserialize)]
struct Act {
    act: Vec<String>,
}

#[derive(Deserialize)]
struct Count {
    line: String,
    die: Option<Moment>,
    wait: Option<u64>,
    /// Bytes of output beside the rest.
    answer: Option<usize>,
    plan: Option<Trouble>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Moment {
    Before,
    After,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Trouble {
    Fails,
    Waits,
    Executes,
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
}

#[derive(Deserialize)]
struct OneLine {
    line: String,
    wait: Option<u64>,
}

#[derive(Deserialize)]
struct Stream {
    /// What each piece says, after its number.
    text: String,
    pieces: u64,
    /// The file that ends it; without one it ends after the last piece.
    until: Option<String>,
    /// Whether it goes on although it was cancelled.
    #[serde(default)]
    stubborn: bool,
    /// Whether each piece is an event that says when it was made, in nanoseconds since 1970.
    #[serde(default)]
    timed: bool,
}

/// What a commit does.
struct Append {
    line: String,
    die: Option<Moment>,
    wait: Option<u64>,
    answer: usize,
    read_back: bool,
}

/// JSON text that goes out as it is, whatever it says: serde_json's own way of passing raw text through, without its
/// check.
struct Unchecked(String);

impl Serialize for Unchecked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const TOKEN: &str = "$serde_json::private::RawValue";
        let mut raw = serializer.serialize_struct(TOKEN, 1)?;
        raw.serialize_field(TOKEN, &self.0)?;
        raw.end()
    }
}

/// What comes back for `head`, and for what is sent through the tunnel that it opens.
fn talk(port: u16, head: &str, tunnelled: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut stream = BufReader::new(stream);
    if let Some(tunnelled) = tunnelled {
        while !answer.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut answer)? > 0 {}
        if answer.starts_with(b"HTTP/1.1 200") {
            stream.get_mut().write_all(tunnelled.as_bytes())?;
            stream.get_mut().shutdown(std::net::Shutdown::Write)?;
        }
    }
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl Fixture {
    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join(LOG)).unwrap_or_default()
    }

    async fn echo(
        self: Arc<Self>,
        _call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        Ok(Reply::new(input["text"].clone(), "echoed"))
    }

    async fn slow(
        self: Arc<Self>,
        call: CallContext,
        input: Wait,
    ) -> Result<Reply<Value>, SourceError> {
        call.progress("waiting").await;
        tokio::time::sleep(Duration::from_millis(input.ms)).await;
        call.progress("waited").await;
        Ok(Reply::new(json!({"waited": input.ms}), "waited"))
    }

    async fn child(
        self: Arc<Self>,
        _call: CallContext,
        input: Started,
    ) -> Result<Reply<Value>, SourceError> {
        fn pairs(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
            let pairs = map.iter();
            pairs
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        }
        let failed = |error: &dyn std::fmt::Display| SourceError::internal(error.to_string());
        let children = self.children.as_ref().ok_or_else(|| failed(&"no keeper"))?;
        let (arguments, environment) = (pairs(&input.arguments), pairs(&input.environment));
        let started = children.start(&input.child, &input.run, &arguments, &environment);
        let mut child = started.await.map_err(|error| failed(&error))?;
        drop(child.stdin.take());
        let (mut output, mut error) = (String::new(), String::new());
        if let (Some(out), Some(err)) = (&mut child.stdout, &mut child.stderr) {
            let read = tokio::try_join!(
                out.read_to_string(&mut output),
                err.read_to_string(&mut error)
            );
            read.map_err(|error| failed(&error))?;
        }
        let (ending, usage) = child.wait().await.map_err(|error| failed(&error))?;
        let said = json!({"output": output, "error": error, "ending": format!("{ending:?}"),
            "cpuMs": usage.cpu_ms, "memory": usage.memory, "processes": usage.processes});
        Ok(Reply::new(said, "ran a program"))
    }

    async fn listed(
        self: Arc<Self>,
        _call: CallContext,
        _input: NoInput,
    ) -> Result<Reply<Unchecked>, SourceError> {
        let text = std::fs::read_to_string(self.root.join("listed.json"));
        let text = text.map_err(|error| SourceError::internal(error.to_string()))?;
        Ok(Reply::new(Unchecked(text), "listed"))
    }

    async fn big(
        self: Arc<Self>,
        _call: CallContext,
        input: Size,
    ) -> Result<Reply<String>, SourceError> {
        Ok(Reply::new("x".repeat(input.bytes), "answered much"))
    }

    async fn garbage(
        self: Arc<Self>,
        _call: CallContext,
        input: How,
    ) -> Result<Reply<Unchecked>, SourceError> {
        let text = match input.how.as_str() {
            "text" => "this is no JSON".to_owned(),
            "two" => r#"{"a":1}{"b":2}"#.to_owned(),
            "half" => r#"{"a":"#.to_owned(),
            "deep" => format!("{}{}", "[".repeat(65), "]".repeat(65)),
            "empty" => String::new(),
            "frame" => {
                // A length, and then bytes that are no message.
                os::write_to_gateway(b"\x04\x00\x00\x00\xc1\xc1\xc1\xc1");
                "null".to_owned()
            }
            "length" => {
                os::write_to_gateway(b"\xff\xff\xff\xff");
                "null".to_owned()
            }
            // Kept until it ends, and held: each page is written.
            "memory" => {
                std::mem::forget(std::hint::black_box(vec![1_u8; MUCH]));
                "null".to_owned()
            }
            "descriptors" => {
                let opened = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
                let opened: Vec<_> = opened.collect();
                let count = opened.len();
                std::mem::forget(opened);
                count.to_string()
            }
            // A control: raw text that is JSON.
            _ => r#"{"fine": [1, 2.50, "\u00e9"]}"#.to_owned(),
        };
        Ok(Reply::new(Unchecked(text), "answered badly"))
    }

    async fn crash(
        self: Arc<Self>,
        _call: CallContext,
        _input: NoInput,
    ) -> Result<Reply<Value>, SourceError> {
        let _ = writeln!(std::io::stderr(), "told to crash");
        std::process::abort();
    }

    async fn fail(
        self: Arc<Self>,
        _call: CallContext,
        input: Reason,
    ) -> Result<Reply<Value>, SourceError> {
        Err(match input.reason.as_str() {
            "denied" => SourceError::denied("the system said no"),
            "unavailable" => SourceError::unavailable("the app is closed"),
            "internal" => SourceError::internal("a mistake of ours"),
            other => SourceError::transport(other, "told to fail"),
        })
    }

    fn egress(&self) -> Result<&EgressAccess, SourceError> {
        let none = || SourceError::unavailable("it has no way to the network");
        self.egress.as_ref().ok_or_else(none)
    }

    async fn send(
        self: Arc<Self>,
        _call: CallContext,
        input: Sent,
    ) -> Result<Reply<Value>, SourceError> {
        let egress = self.egress()?;
        let head = input
            .head
            .replace("{credential}", egress.credential.expose());
        let port = egress.port;
        let answer = on_file_thread(move || {
            talk(port, &head, input.tunnelled.as_deref())
                .map_err(|error| SourceError::transport("network", error.to_string()))
        });
        let answer = answer.await?;
        Ok(Reply::new(json!({"port": port, "answer": answer}), "sent"))
    }

    async fn attack(
        self: Arc<Self>,
        _call: CallContext,
        input: Act,
    ) -> Result<Reply<Value>, SourceError> {
        let port = self.egress()?.port.to_string();
        let act = input.act.iter().map(|word| word.replace("{port}", &port));
        let act: Vec<String> = act.collect();
        let outcome = on_file_thread(move || {
            let act: Vec<&str> = act.iter().map(String::as_str).collect();
            Ok(match plexus_hostile::act(&act) {
                Ok(_) => "done".to_owned(),
                Err(error) => match error.raw_os_error() {
                    Some(errno) => format!("refused {errno}"),
                    None => error.to_string(),
                },
            })
        });
        Ok(Reply::new(json!(outcome.await?), "attacked"))
    }

    async fn plan_count(
        self: Arc<Self>,
        call: CallContext,
        input: Count,
    ) -> Result<Plan<Append>, SourceError> {
        match input.plan {
            Some(Trouble::Fails) => {
                return Err(SourceError::transport(
                    "not_found",
                    "there is nothing to append to",
                ));
            }
            // Only the preview waits: in the writer the same plan would hold up the commit that it is made for.
            Some(Trouble::Waits) if call.role() == Role::Reader => {
                tokio::time::sleep(call.remaining()).await;
            }
            Some(Trouble::Waits | Trouble::Executes) | None => {}
        }
        let plan = self.planned(Append {
            line: input.line,
            die: input.die,
            wait: input.wait,
            answer: input.answer.unwrap_or(0),
            read_back: false,
        });
        Ok(if input.plan == Some(Trouble::Executes) {
            plan.rating(Verb::Execute)
        } else {
            plan
        })
    }

    async fn plan_run(
        self: Arc<Self>,
        _call: CallContext,
        input: Prompt,
    ) -> Result<Plan<Append>, SourceError> {
        Ok(self
            .planned(Append {
                line: input.prompt,
                die: None,
                wait: None,
                answer: 0,
                read_back: false,
            })
            .rating(Verb::Execute))
    }

    async fn plan_both(
        self: Arc<Self>,
        _call: CallContext,
        input: OneLine,
    ) -> Result<Plan<Append>, SourceError> {
        Ok(self.planned(Append {
            line: input.line,
            die: None,
            wait: input.wait,
            answer: 0,
            read_back: true,
        }))
    }

    async fn plan_stream(
        self: Arc<Self>,
        _call: CallContext,
        input: Stream,
    ) -> Result<Plan<Stream>, SourceError> {
        let preview = Preview::new(format!("stream {} pieces", input.pieces));
        Ok(Plan::new(input, Digest::of(b"any"), preview, "stream"))
    }

    /// The file `streamed` says how many pieces the gateway has taken.
    async fn stream(
        self: Arc<Self>,
        call: CallContext,
        stream: Stream,
    ) -> Result<Reply<Value>, SourceError> {
        let cancelled = |done: u64| match done {
            0 => SourceError::cancelled(Effect::None),
            _ => SourceError::cancelled(Effect::Partial),
        };
        let note = |done: u64| {
            let _ = std::fs::write(self.root.join("streamed"), done.to_string());
        };
        note(0);
        for piece in 0..stream.pieces {
            if stream.timed {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
                let at = now.unwrap_or_default().as_nanos().to_string();
                call.progress_event(&json!({"piece": piece, "at": at}))
                    .await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            } else {
                let text = format!("{piece} {}\n", stream.text);
                call.progress(text).await;
            }
            note(piece + 1);
            if call.is_cancelled() && !stream.stubborn {
                return Err(cancelled(piece + 1));
            }
        }
        if let Some(until) = &stream.until {
            while !self.root.join(until).exists() {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                    () = call.cancelled(), if !stream.stubborn => {
                        return Err(cancelled(stream.pieces));
                    }
                }
            }
        }
        Ok(Reply::new(json!({"pieces": stream.pieces}), "streamed"))
    }

    /// The state that an append assumes is the file `state`, which a test changes; not the log, so that two appends do
    /// not exclude each other.
    fn planned(&self, append: Append) -> Plan<Append> {
        let state = std::fs::read(self.root.join("state")).unwrap_or_default();
        let preview = Preview::new("append one line")
            .fact("file", LOG)
            .diff(&format!("+{}\n", append.line));
        Plan::new(append, Digest::of(&state), preview, "append one line")
            .touched([Touched::write(KIND, LOG, None)])
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        append: Append,
    ) -> Result<Reply<Value>, SourceError> {
        if let Some(ms) = append.wait {
            // For a test that has to know that it is under way; it has no other sign.
            let _ = std::fs::write(self.root.join("begun"), &append.line);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if append.die == Some(Moment::Before) {
            std::process::abort();
        }
        let intent = call.audit().map(AuditId::as_str).unwrap_or("-");
        let written = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.join(LOG))
            .and_then(|mut log| {
                log.write_all(format!("{intent} {}\n", append.line).as_bytes())?;
                log.sync_all()
            });
        if append.die == Some(Moment::After) {
            std::process::abort();
        }
        written.map_err(|error| SourceError::internal(format!("{LOG}: {}", error.kind())))?;
        let output = if append.read_back {
            json!({"lines": self.log().lines().count()})
        } else if append.answer > 0 {
            json!({"much": "x".repeat(append.answer)})
        } else {
            json!({"ok": true})
        };
        Ok(Reply::new(output, "appended one line").touched([Touched::write(KIND, LOG, None)]))
    }
}
