//! The `plexus-egress` of a source: started before the first worker that needs it, shared by its workers, ended with
//! the last of them.
//!
//! ```text
//! none ─a worker starts─▶ Starting ─Ready─▶ Up ─last worker gone─▶ Stop ─▶ killed, reaped
//!                            └─failed: so does the worker's start   └─it ends by itself: so do its workers
//! ```
//!
//! Invariants: a worker never holds a secret that its egress adds; a credential opens one process to one role, and dies
//! with it;
//! what a process reports is heard at a bounded rate.
//!
//! Must not know: what becomes of a report.

use super::{
    Context, Notice, Spec, os,
    process::{Fresh, Group, Process as _},
    start::{REAP_WITHIN, StartError},
    stderr::{self, Stderr},
};
use plexus_home::{inspection, tasks};
use plexus_ipc::{
    BUILD,
    egress::{
        AddedSecret, EgressStart, Forward, FromEgress, MAX_EGRESS_FRAME, Names, Proof, Revocation,
        ToEgress,
    },
    frame::{self, FrameReader, FrameSender},
    manifest::{Admitted, AdmittedSocket, Auth, Egress as Entry},
    message::{EGRESS_CREDENTIAL, EgressAccess, Probe, Role, Secret},
    stream::{self, ReadHalf},
};
use plexus_protocol::{Digest, SourceId};
use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    net::unix::pipe,
    sync::{oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

/// Its program, beside the workers.
pub(super) const PROGRAM: &str = "plexus-egress";
/// Its profile.
pub(super) const PROFILE: &str = include_str!("../../../sandbox-profiles/egress.sb");
/// Largest of the machine's files about names that is read, in bytes.
const NAMES: u64 = 64 * 1024;
/// Largest file of certificate authorities, in bytes.
const AUTHORITIES: u64 = 128 * 1024;
/// From one message of a process to the next that is read, in the long run. It sends one a second.
const PAUSE: Duration = Duration::from_millis(250);
/// How many may follow one another at once after a quiet while, as those of a renewal do, for which calls wait.
const BURST: u32 = 4;
/// How long a process may take to end its connections and report them.
const LAST_REPORT: Duration = Duration::from_secs(1);
/// The same where it may be renewing a sign-in: what it has would be lost with it.
const LAST_RENEWAL: Duration = Duration::from_secs(25);
/// How long a process may take to end a sign-in at its server.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);

/// Who waits for what came of a revocation.
type Revoking = Arc<Mutex<Option<oneshot::Sender<Revocation>>>>;

/// One that serves. It ends with the last [`Arc`].
pub(super) struct Egress {
    port: u16,
    credential: Secret,
    /// Of readers.
    reader: Secret,
    /// For workers that make TLS themselves.
    authorities: String,
    /// The secret that it adds is a token.
    bearer: bool,
    /// How long it may take to end.
    patience: Duration,
    gone: watch::Receiver<bool>,
    out: FrameSender<ToEgress>,
    revoking: Revoking,
    /// Dropped with it: then its task ends the process.
    _wanted: oneshot::Sender<()>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// The port, for the profile of a worker.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What a worker of this role is told.
    pub(super) fn access(&self, role: Role) -> EgressAccess {
        let credential = match role {
            Role::Reader => &self.reader,
            Role::Writer => &self.credential,
        };
        EgressAccess {
            port: self.port,
            credential: Secret::new(credential.expose().to_owned()),
            authorities: self.authorities.clone(),
            bearer: self.bearer,
        }
    }

    /// Until the process has ended.
    pub(super) async fn gone(&self) {
        // An end without a word is an end too.
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
    }

    /// Ends the sign-in at its server, and says what came of that.
    pub(super) async fn revoke(&self) -> Revocation {
        let (told, revoked) = oneshot::channel();
        *self.revoking.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        let revoked = async {
            self.out.send(&ToEgress::Revoke).await.ok()?;
            revoked.await.ok()
        };
        let told = timeout(REVOKED_WITHIN, revoked).await.ok().flatten();
        told.unwrap_or(Revocation::Failed { until: None })
    }

    /// Lets go of it. If that was the last hold, waits until the process has ended and reported, or does not.
    pub(super) async fn release(self: Arc<Self>) {
        let (mut gone, patience) = (self.gone.clone(), self.patience);
        if Arc::into_inner(self).is_some() {
            let ended = gone.wait_for(|gone| *gone);
            let _ = timeout(patience + REAP_WITHIN, ended).await;
        }
    }
}

/// The processes of all sources, each for one revision of its source.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<SourceId, Seat>>>);

type Seat = Arc<tokio::sync::Mutex<(u64, Weak<Egress>)>>;

impl Seats {
    /// The process of a source, started where there is none; `None` for a source that needs no network.
    pub(super) async fn of(
        &self,
        context: &Arc<Context<Group>>,
        spec: &Arc<Spec>,
    ) -> Result<Option<Arc<Egress>>, StartError> {
        let hosts = spec.offer.manifest.admitted(&spec.config);
        let wrong = |(field, why)| StartError::Egress(format!("{field}: {why}"));
        let hosts = hosts.map_err(wrong)?;
        let socket = spec.offer.manifest.admitted_socket(&spec.config);
        let socket = socket.map_err(wrong)?;
        if hosts.is_empty() && socket.is_none() {
            return Ok(None);
        }
        let own = context.tcp_port;
        if ports(&hosts)?.contains(&own) {
            let why = format!(
                "{own} is the gateway's own port, and no source reaches that port of any host: let the app listen on another"
            );
            return Err(StartError::Egress(why));
        }
        let seat = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.retain(|_, seat| {
                // One that is locked is being filled.
                Arc::strong_count(seat) > 1
                    || seat.try_lock().is_ok_and(|seat| seat.1.strong_count() > 0)
            });
            Arc::clone(seats.entry(spec.source.clone()).or_default())
        };
        let mut seat = seat.lock().await;
        if let Some(up) = seat.1.upgrade()
            && seat.0 == spec.revision
            && !*up.gone.borrow()
        {
            return Ok(Some(up));
        }
        let up = Arc::new(start(context, spec, &hosts, socket).await?);
        *seat = (spec.revision, Arc::downgrade(&up));
        Ok(Some(up))
    }
}

async fn start(
    context: &Arc<Context<Group>>,
    spec: &Arc<Spec>,
    hosts: &[(&Entry, Admitted)],
    socket: Option<AdmittedSocket>,
) -> Result<Egress, StartError> {
    let authorities = read_authorities(spec, hosts, Entry::is_forwarded).await?;
    // If no secret is added, TLS is the worker's, and the egress sees nothing of it.
    let of_workers = read_authorities(spec, hosts, |entry| !entry.is_forwarded()).await?;
    let of_workers = String::from_utf8(of_workers)
        .map_err(io::Error::other)
        .map_err(StartError::prepare("the file of certificate authorities"))?;
    let names = read_names().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(StartError::prepare("a port for the source's egress"))?;
    let port = listener
        .local_addr()
        .map_err(StartError::prepare("a port for the source's egress"))?
        .port();
    let unsound = |why: &str| StartError::Egress(format!("signIn: {why}"));
    let ports = ports(hosts)?;
    let path = socket.as_ref().map(|socket| socket.path.clone());
    let Fresh {
        group,
        stream,
        stderr,
        mut secrets,
        targets,
    } = context
        .spawner
        .start_egress(context, spec, listener, ports, path)
        .await?;
    let (forwarded, open) = hosts
        .iter()
        .partition::<Vec<_>, _>(|(entry, _)| entry.is_forwarded());
    let forward = match forwarded.first() {
        None => None,
        Some((entry, to)) => {
            let unset =
                |field: &str| StartError::Secrets(io::Error::other(format!("{field} is not set")));
            let added = |field: &String| {
                let value = secrets.take(field).ok_or_else(|| unset(field))?;
                let is_token = |begins: &String| value.expose().starts_with(&**begins);
                let auth = match entry.bearer_for.as_ref().is_some_and(is_token) {
                    true => Auth::Bearer,
                    false => auth(spec, &entry.auth),
                };
                Ok::<_, StartError>(AddedSecret { value, auth })
            };
            // What its workers send may be the owner's own sign-in.
            let field = entry.secret.as_deref();
            let field = field.and_then(|field| spec.offer.manifest.field(field));
            let clients_own = field.is_some_and(|field| field.is_replaced(&spec.config));
            let named = entry.secret.as_ref().filter(|_| !clients_own);
            Some(Forward {
                to: to.clone(),
                secret: named.map(added).transpose()?,
                clients_own,
                whole: entry.is_agreed(),
                paths: entry
                    .paths_of(&spec.config)
                    .map_err(|why| StartError::Egress(why.to_owned()))?,
                reads: entry.reads.clone(),
                tokens: entry.tokens(to).map_err(unsound)?,
                proof: match entry.is_pinned() {
                    false => Proof::Name(authorities.into()),
                    true => Proof::Certificate(pinned(spec, entry)?),
                },
            })
        }
    };
    let added = forward.as_ref().and_then(|forward| forward.secret.as_ref());
    let bearer = added.is_some_and(|added| added.auth == Auth::Bearer);
    let reader = credential().map_err(StartError::Spawn)?;
    let credential = credential().map_err(StartError::Spawn)?;
    let start = EgressStart {
        credential: Secret::new(credential.expose().to_owned()),
        reader: Secret::new(reader.expose().to_owned()),
        hosts: open.into_iter().map(|(_, host)| host.clone()).collect(),
        forward,
        socket,
        names,
        probe: Probe {
            launcher_pid: group.pid(),
            ..targets.probe().clone()
        },
    };
    let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(StartError::Spawn)?;
    let mut stderr = stderr::follow(stderr, &spec.source, "egress", group.pid());
    let (read, write) = stream::split(stream).map_err(StartError::Spawn)?;
    let mut inbox = FrameReader::new(read, MAX_EGRESS_FRAME);
    let (out, writing) = frame::writer(write, MAX_EGRESS_FRAME);
    tokio::spawn(writing);
    let met = timeout(context.pace.hello_within, meet(&out, start, &mut inbox));
    let failed = match met.await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => {
            stderr.at_end().await;
            Some(why)
        }
        Err(_) => Some("it did not come to serve in time".to_owned()),
    };
    drop(targets);
    if let Some(mut why) = failed {
        group.end(REAP_WITHIN).await;
        if let Some(last) = stderr.last_word().await {
            why = format!("{why}: {last}");
        }
        return Err(StartError::Egress(why));
    }
    let patience = patience(spec);
    let (gone, is_gone) = watch::channel(false);
    let (wanted, unwanted) = oneshot::channel();
    let revoking = Revoking::default();
    let running = Running {
        group,
        _stderr: stderr,
        inbox,
        out: out.clone(),
        revoking: Arc::clone(&revoking),
    };
    let (context, spec) = (Arc::clone(context), Arc::clone(spec));
    tokio::spawn(async move {
        running.attend(&context, &spec, unwanted).await;
        let _ = gone.send(true);
    });
    Ok(Egress {
        port,
        credential,
        reader,
        authorities: of_workers,
        bearer,
        patience,
        gone: is_gone,
        out,
        revoking,
        _wanted: wanted,
    })
}

/// Tells a process what it admits, and hears that it serves.
async fn meet(
    out: &FrameSender<ToEgress>,
    start: EgressStart,
    inbox: &mut FrameReader<ReadHalf, FromEgress>,
) -> Result<(), String> {
    let start = ToEgress::Start(Box::new(start));
    out.send_secret(&start)
        .await
        .map_err(|error| error.to_string())?;
    match inbox.next().await {
        Ok(Some(FromEgress::Ready { build, .. })) if build != *BUILD => {
            Err(format!("it is of build {build}, the gateway of {BUILD}"))
        }
        Ok(Some(FromEgress::Ready { cage, .. })) if !cage.sound() => {
            let open: Vec<_> = cage.failures().map(|check| check.name.as_str()).collect();
            Err(format!("its cage is not sound: {}", open.join(", ")))
        }
        Ok(Some(FromEgress::Ready { .. })) => Ok(()),
        Ok(Some(_)) => Err("it spoke out of turn".into()),
        Ok(None) => Err("it ended".into()),
        Err(error) => Err(error.to_string()),
    }
}

struct Running {
    group: Group,
    /// Ends with it.
    _stderr: Stderr,
    inbox: FrameReader<ReadHalf, FromEgress>,
    out: FrameSender<ToEgress>,
    revoking: Revoking,
}

impl Running {
    /// Hears the process until it ends or nobody wants it any more; then it is gone.
    async fn attend(
        mut self,
        context: &Context<Group>,
        spec: &Arc<Spec>,
        unwanted: oneshot::Receiver<()>,
    ) {
        let source = &spec.source;
        let hearing = self.hear(context, spec);
        let asked = tokio::select! {
            () = hearing => false,
            _ = unwanted => true,
        };
        if asked {
            let last = async {
                // The last report, and the end of the stream.
                if self.out.send(&ToEgress::Stop).await.is_ok() {
                    self.hear(context, spec).await;
                }
            };
            let _ = timeout(patience(spec), last).await;
        } else {
            tracing::warn!(name: "egress.ended", %source, pid = self.group.pid(), "the egress of a source ended by itself");
        }
        self.group.end(REAP_WITHIN).await;
    }

    async fn hear(&mut self, context: &Context<Group>, spec: &Arc<Spec>) {
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            match self.inbox.next().await {
                Ok(Some(FromEgress::Connections(connections))) => {
                    let source = spec.source.clone();
                    context.notify(Notice::Egress {
                        source,
                        connections,
                    });
                }
                Ok(Some(FromEgress::NamesWanted)) => {
                    let names = ToEgress::Names(read_names().await);
                    let _ = self.out.send(&names).await;
                }
                Ok(Some(FromEgress::Renewed { was, record })) => {
                    let durable = keep(spec, was, record).await;
                    let _ = self.out.send(&ToEgress::Kept { durable }).await;
                }
                Ok(Some(FromEgress::Revoked(revocation))) => {
                    let mut waits = self.revoking.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(told) = waits.take() {
                        let _ = told.send(revocation);
                    }
                }
                Ok(Some(FromEgress::Ready { .. }) | None) | Err(_) => return,
            }
            let quiet = Instant::now().checked_sub(PAUSE * (BURST - 1));
            next = quiet.map_or(next, |quiet| next.max(quiet)) + PAUSE;
        }
    }
}

/// The ports that an egress connects to, each once.
fn ports(hosts: &[(&Entry, Admitted)]) -> Result<Vec<u16>, StartError> {
    let mut ports: Vec<u16> = hosts.iter().map(|(_, host)| host.port).collect();
    for (entry, host) in hosts {
        let tokens = entry.tokens(host);
        let tokens = tokens.map_err(|why| StartError::Egress(format!("signIn: {why}")))?;
        ports.extend(tokens.map(|tokens| tokens.to.port));
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// How long the process of a source may take to end.
fn patience(spec: &Spec) -> Duration {
    let mut hosts = spec.offer.manifest.hosts();
    match hosts.any(|host| host.sign_in.is_some()) {
        true => LAST_RENEWAL,
        false => LAST_REPORT,
    }
}

/// Keeps a sign-in that was renewed, and says whether it is durable.
async fn keep(spec: &Arc<Spec>, was: Digest, record: Secret) -> bool {
    let of = Arc::clone(spec);
    let kept = tasks::blocking(move || {
        let entry = of
            .offer
            .manifest
            .hosts()
            .find(|entry| entry.sign_in.is_some());
        let field = entry.and_then(|entry| entry.secret.as_ref());
        let field = field.ok_or_else(|| io::Error::other("it has none"))?;
        (of.keep)(field, was, &record)
    });
    match kept.await.and_then(|kept| kept) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(name: "sign_in.unkept", source = %spec.source, %error, "a renewed sign-in cannot be kept");
            false
        }
    }
}

/// The fingerprint that the owner pinned.
fn pinned(spec: &Spec, entry: &Entry) -> Result<Option<Digest>, StartError> {
    let pinned = entry.pinned(&spec.config);
    pinned.map_err(|why| StartError::Egress(why.to_owned()))
}

/// How the secret is added, with the owner's own name where it takes one.
fn auth(spec: &Spec, auth: &Auth<String>) -> Auth<String> {
    match auth {
        Auth::Basic(field) => {
            let user = spec.config.get(field).and_then(|user| user.as_str());
            Auth::Basic(user.unwrap_or_default().to_owned())
        }
        other => other.clone(),
    }
}

/// 256 random bits, in hex.
fn credential() -> io::Result<Secret> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    let mut text = EGRESS_CREDENTIAL.to_owned();
    text.extend(bits.iter().map(|byte| format!("{byte:02x}")));
    Ok(Secret::new(text))
}

/// What the machine says of names now; nothing where it says nothing.
async fn read_names() -> Names {
    let read = async |path: &'static str| {
        let path = Path::new(path);
        let text = inspection::at(path, move || read_bounded(path, NAMES)).await;
        let text = text.and_then(|read| read).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    Names {
        resolv_conf: read("/etc/resolv.conf").await,
        hosts: read("/etc/hosts").await,
    }
}

/// The file that the owner named for the hosts that fit; nothing where none is named.
async fn read_authorities(
    spec: &Spec,
    hosts: &[(&Entry, Admitted)],
    fits: impl Fn(&Entry) -> bool,
) -> Result<Vec<u8>, StartError> {
    let mut entries = hosts.iter().filter(|(entry, _)| fits(entry));
    let Some(field) = entries.find_map(|(entry, _)| entry.ca.as_ref()) else {
        return Ok(Vec::new());
    };
    let typed = spec.config.get(field).and_then(|path| path.as_str());
    let Some(path) = typed.filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let file = path.clone();
    let read = if path.is_absolute() {
        inspection::at(&path, move || read_bounded(&file, AUTHORITIES)).await
    } else {
        Err(io::Error::other("not an absolute path"))
    };
    read.and_then(|read| read)
        .map_err(StartError::prepare("the file of certificate authorities"))
}

/// A regular file of at most `most` bytes.
fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = os::open_without_waiting(path)?;
    let about: fs::Metadata = file.metadata()?;
    if !about.is_file() || about.len() > most {
        return Err(io::Error::other(format!(
            "not a file of at most {most} bytes"
        )));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
