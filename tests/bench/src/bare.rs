//! The two bare servers: what HTTP costs, and what a token, a worker and a durable record cost beside it.

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use redb::{Database, TableDefinition};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

/// The token's key: the same to sign and to verify, and worth nothing elsewhere.
const KEY: &[u8] = b"the bench signs and verifies itself";
/// The records of the bare path.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// Most records of one commit, as the gateway's writer has it.
const BATCH: usize = 256;

/// A server of ours in a process of its own, ended with this value.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Server {
    /// Starts a part of this program and waits until it listens.
    pub(crate) fn start(arguments: &[&str], environment: &[(String, String)]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("no pipe")?;
        BufReader::new(out).read_line(&mut line)?;
        let port = line
            .trim()
            .parse()
            .with_context(|| format!("{arguments:?} said {line:?}"))?;
        Ok(Self { child, port })
    }
}

impl Server {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token that [`verify`] accepts, about `length` bytes long.
pub(crate) fn token(length: usize) -> String {
    let shortest = signed(String::new());
    // Three bytes of claims are four of the token.
    signed("x".repeat(length.saturating_sub(shortest.len()) / 4 * 3))
}

fn signed(scopes: String) -> String {
    let claims = Claims {
        sub: "bench".into(),
        jti: "tok_0b1e4a5c-7d2f-4c3a-9e8b-1f2a3b4c5d6e".into(),
        session_id: "sess_0b1e4a5c-7d2f-4c3a-9e8b-1f2a3b4c5d6e".into(),
        exp: u64::MAX,
        scopes,
    };
    let head = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
    let signed = format!("{head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(mac(signed.as_bytes()).finalize().into_bytes());
    format!("{signed}.{signature}")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    sub: String,
    jti: String,
    session_id: String,
    exp: u64,
    scopes: String,
}

fn mac(bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any length");
    mac.update(bytes);
    mac
}

fn verify(token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(signed.as_bytes()).verify_slice(&signature).ok()?;
    let (_, claims) = signed.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Serves a handler that answers with `bytes` bytes.
pub(crate) fn serve_handler(bytes: usize) -> Result<()> {
    let answer = Bytes::from(vec![b'x'; bytes]);
    serve(Router::new().route("/invoke", post(async move |_: Bytes| json(answer.clone()))))
}

/// How the bare path does a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The worker reads the note; one commit before the reply.
    Read,
    /// A commit, then the worker appends a line to a file, then a second commit.
    Effect,
}

/// What the bare path is to be like.
#[derive(clap::Args)]
pub(crate) struct PathArguments {
    /// A folder of its own, for the database and the worker's socket
    folder: PathBuf,
    /// What the worker reads, or appends to
    file: PathBuf,
    /// What a call is
    kind: Kind,
    /// Bytes of the record that is committed, or of both together
    record: usize,
    /// Bytes of the answer
    answer: usize,
}

/// Serves the bare path with a worker and a database in its folder.
pub(crate) fn serve_path(arguments: &PathArguments) -> Result<()> {
    let PathArguments {
        folder, file, kind, ..
    } = arguments;
    let socket = folder.join("worker.sock");
    let mut worker = Command::new(std::env::current_exe()?)
        .arg("worker")
        .arg(&socket)
        .arg(file)
        .arg(match kind {
            Kind::Read => "read",
            Kind::Effect => "effect",
        })
        // A slow flush is the database's.
        .env_remove("LD_PRELOAD")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(worker.stdout.take().context("no pipe")?).read_line(&mut line)?;
    ensure!(line == "listening\n", "the worker said {line:?}");

    let (to_writer, jobs) = sync_channel(4_096);
    let database = Database::create(folder.join("bare.redb"))?;
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || write(&database, &jobs))?;
    let stream = UnixStream::connect(&socket)?;
    let served = serve_with(|| {
        let worker = Worker::over(stream)?;
        let state = Arc::new(BarePath {
            worker,
            to_writer,
            kind: *kind,
            record: arguments.record,
            answer: arguments.answer,
        });
        Ok(Router::new().route("/invoke", post(call)).with_state(state))
    });
    let _ = worker.kill();
    let _ = worker.wait();
    served
}

fn serve(router: Router) -> Result<()> {
    serve_with(|| Ok(router))
}

fn serve_with(router: impl FnOnce() -> Result<Router>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        axum::serve(listener, router()?).await?;
        Ok(())
    })
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

struct BarePath {
    worker: Worker,
    to_writer: SyncSender<Job>,
    kind: Kind,
    /// Bytes.
    record: usize,
    answer: usize,
}

#[derive(Deserialize)]
struct Request {
    id: String,
    input: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Call {
    id: u64,
    capability: String,
    #[serde(with = "serde_bytes_of")]
    input: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Done {
    id: u64,
    #[serde(with = "serde_bytes_of")]
    output: Vec<u8>,
}

/// Bytes as msgpack's own kind of bytes, not as a list of numbers.
mod serde_bytes_of {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

async fn call(State(path): State<Arc<BarePath>>, headers: HeaderMap, body: Bytes) -> Response {
    match path.answer(&headers, &body).await {
        Ok(answer) => json(answer.into()),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

impl BarePath {
    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .context("no token")?
            .to_str()?;
        let claims =
            verify(bearer.strip_prefix("Bearer ").context("no bearer")?).context("a bad token")?;
        let request: Request = serde_json::from_slice(body)?;
        let output = match self.kind {
            Kind::Read => {
                let output = self.worker.ask(&request).await?;
                self.commit(&claims, &request, "read", self.record).await?;
                output
            }
            Kind::Effect => {
                let each = self.record / 2;
                self.commit(&claims, &request, "intent", each).await?;
                let output = self.worker.ask(&request).await?;
                self.commit(&claims, &request, "outcome", each).await?;
                output
            }
        };
        let mut answer = Vec::with_capacity(output.len() + 128);
        write!(answer, r#"{{"id":"{}","ok":true,"output":"#, request.id)?;
        answer.extend(output);
        answer.extend(br#","auditId":"evt_0b1e4a5c-7d2f-4c3a-9e8b-1f2a3b4c5d6e""#);
        fill(&mut answer, self.answer);
        Ok(answer)
    }

    /// Makes one record of so many bytes durable.
    async fn commit(
        &self,
        claims: &Claims,
        request: &Request,
        phase: &str,
        bytes: usize,
    ) -> Result<()> {
        let mut record = serde_json::to_vec(&serde_json::json!({
            "type": "invoke", "agentId": claims.sub, "jti": claims.jti, "sessionId": claims.session_id,
            "capabilityId": request.id, "phase": phase, "outcome": "ok",
        }))?;
        record.pop();
        fill(&mut record, bytes);
        let (done, durable) = oneshot::channel();
        self.to_writer.try_send(Job { record, done })?;
        durable.await?;
        Ok(())
    }
}

/// Closes an open JSON object so that it has so many bytes, or a few more.
fn fill(object: &mut Vec<u8>, bytes: usize) {
    const AROUND: usize = r#","_":""}"#.len();
    let missing = bytes.saturating_sub(object.len() + AROUND);
    object.extend(br#","_":""#);
    object.resize(object.len() + missing, b'x');
    object.extend(br#""}"#);
}

struct Job {
    record: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// Receives, then drains: many callers share one flush.
fn write(database: &Database, jobs: &Receiver<Job>) {
    let mut sequence = 0;
    while let Ok(first) = jobs.recv() {
        let batch: Vec<Job> = std::iter::once(first)
            .chain(jobs.try_iter().take(BATCH - 1))
            .collect();
        let commit = || -> Result<()> {
            let transaction = database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                for job in &batch {
                    sequence += 1;
                    records.insert(sequence, job.record.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        let mut commit = commit;
        if commit().is_ok() {
            for job in batch {
                // A caller that went away needs no answer.
                let _ = job.done.send(());
            }
        }
    }
}

/// The gateway's end of the one connection to the worker, shared by all calls.
struct Worker {
    to_worker: tokio::sync::mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    calls: HashMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Worker {
    fn over(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        let (mut read, mut write) = tokio::net::UnixStream::from_std(stream)?.into_split();
        let (to_worker, mut frames) = tokio::sync::mpsc::channel::<Vec<u8>>(1_024);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut prefix = [0; 4];
            while read.read_exact(&mut prefix).await.is_ok() {
                let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
                if read.read_exact(&mut body).await.is_err() {
                    return;
                }
                let Ok(done) = rmp_serde::from_slice::<Done>(&body) else {
                    return;
                };
                let caller = answers
                    .lock()
                    .ok()
                    .and_then(|mut waiting| waiting.calls.remove(&done.id));
                if let Some(caller) = caller {
                    let _ = caller.send(done.output);
                }
            }
        });
        Ok(Self { to_worker, waiting })
    }
    async fn ask(&self, request: &Request) -> Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = self
                .waiting
                .lock()
                .map_err(|_| anyhow::anyhow!("a thread failed"))?;
            waiting.last += 1;
            let id = waiting.last;
            waiting.calls.insert(id, answer);
            id
        };
        let call = Call {
            id,
            capability: request.id.clone(),
            input: serde_json::to_vec(&request.input)?,
        };
        self.to_worker.send(framed(&call)?).await?;
        Ok(answered.await?)
    }
}

fn framed<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let body = rmp_serde::to_vec_named(message)?;
    let mut frame = u32::try_from(body.len())?.to_le_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

/// The worker: reads the file for every call, or appends a line to it.
pub(crate) fn work(socket: &Path, file: &Path, kind: Kind) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    println!("listening");
    std::io::stdout().flush()?;
    let (stream, _) = listener.accept()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut prefix = [0; 4];
    while reader.read_exact(&mut prefix).is_ok() {
        let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
        reader.read_exact(&mut body)?;
        let call: Call = rmp_serde::from_slice(&body)?;
        ensure!(
            !call.capability.is_empty() && !call.input.is_empty(),
            "an empty call"
        );
        let output = match kind {
            Kind::Read => {
                let content = std::fs::read_to_string(file)?;
                serde_json::json!({
                    "type": "file", "relativePath": "note.md", "content": content, "bytes": content.len(),
                    "modifiedAt": "2026-01-31T08:15:00.000Z", "links": [], "warnings": [],
                })
            }
            Kind::Effect => {
                let mut log = std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(file)?;
                writeln!(log, "evt_0b1e4a5c-7d2f-4c3a-9e8b-1f2a3b4c5d6e {}", call.id)?;
                log.sync_all()?;
                serde_json::json!({"ok": true})
            }
        };
        let output = serde_json::to_vec(&output)?;
        stream.write_all(&framed(&Done {
            id: call.id,
            output,
        })?)?;
    }
    Ok(())
}
