//! One worker process and the thread that starts all of them.
//!
//! ```text
//! order ─▶ [spawner thread] secrets ▸ canary, socket ▸ launcher, own group ▸ record ─▶ Spawned
//!          kill group ▸ reap ▸ record out                                          ◀─ Group
//! ```
//!
//! The thread lives as long as anyone can start or own a worker: on Linux its end is the death of all it started.
//!
//! [`Process`] is what an actor needs of a worker's process; [`Group`] is the one that there is outside of tests.
//!
//! Invariants: a worker's environment is built from nothing; it inherits its stream as descriptor 3, a pipe as stderr,
//! and nothing else; its group is killed before it is reaped, so the number still means that group; a drop of a
//! [`Group`] kills it and leaves the reaping to the thread.
//!
//! Must not know: what is said on the stream.

use super::{
    Context, Folder, Spec,
    agreed::AgreedCode,
    children,
    egress::{self, Egress},
    os,
    records::{self, Records},
    runs::{self, Keeping, Living},
    start::{REAP_WITHIN, StartError},
    stderr::{self, Stderr},
};
use command_fds::{CommandFdExt, FdMapping};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{AccessFlags, access},
};
use plexus_home::inspection;
use plexus_ipc::{
    egress::Revocation,
    gateway::{self, Receiver, Sender},
    message::{Probe, Role, Secrets},
    stream::{self, ReadHalf, WORKER_FD},
};
use plexus_sandbox::{
    children::keeper_command, launcher_command, uncaged_command, without_capabilities,
};
use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixListener, process::CommandExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// How often the thread looks after processes that nobody waits for any more.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// The environment's only names: the owner's time zone, for a source that says "today".
const ENVIRONMENT: [&str; 1] = ["TZ"];

/// What the life of a worker needs of its process. An actor is made for one kind of it, so a call pays nothing for the
/// choice.
pub(super) trait Process: fmt::Debug + Send + Sync + Sized + 'static {
    /// What starts them.
    type Spawner: fmt::Debug + Send + Sync + 'static;
    /// What is heard of one.
    type Stream: AsyncRead + Unpin + Send + Sync;
    /// What one attacks at its start; gone when dropped.
    type Targets: Send;

    /// Starts one.
    ///
    /// # Errors
    /// Then none runs.
    fn start(
        context: &Arc<Context<Self>>,
        spec: &Arc<Spec>,
        role: Role,
    ) -> impl Future<Output = Result<Spawned<Self>, StartError>> + Send;

    /// Has the source's egress tell the authorization server that the owner's sign-in is over; starts it where none runs.
    fn revoke(
        context: &Arc<Context<Self>>,
        spec: &Arc<Spec>,
    ) -> impl Future<Output = Revocation> + Send;

    /// Its number.
    fn pid(&self) -> u32;

    /// What it and all that it started hold now; `None` when it is gone.
    fn held(&self) -> Option<os::ProcessUsage>;

    /// How long its machine has slept since that was started.
    fn slept(&self) -> Duration;

    /// Signals it and all that it started.
    fn signal(&self, signal: Signal);

    /// Kills it with all that it started, and reaps it; returns when nobody of its runs is left either. `None` where it does not
    /// end within `patience`, or they do not.
    fn end(self, patience: Duration) -> impl Future<Output = Option<ExitStatus>> + Send;
}

/// A worker that was just started.
pub(super) struct Spawned<P: Process> {
    pub(super) process: P,
    pub(super) out: Sender,
    pub(super) inbox: Receiver<P::Stream>,
    pub(super) stderr: Stderr,
    pub(super) secrets: Secrets,
    /// Its way to the network.
    pub(super) egress: Option<Arc<Egress>>,
    /// What it is told to attack.
    pub(super) probe: Probe,
    pub(super) targets: P::Targets,
}

/// What the spawner is asked to do.
enum Order {
    Start {
        context: Arc<Context<Group>>,
        spec: Arc<Spec>,
        what: ProcessKind,
        reply: oneshot::Sender<Result<Fresh, StartError>>,
    },
    /// It was reaped.
    Forget(u32),
    /// It was killed; reap it.
    Reap(Child),
}

/// Which of a source's processes.
enum ProcessKind {
    Worker {
        role: Role,
        /// What it runs, compared.
        code: AgreedCode,
        /// The source's folders, resolved, each with its parameter.
        folders: Vec<(String, String)>,
        /// The port of the source's egress.
        egress: Option<u16>,
    },
    Egress {
        /// What it accepts connections on: its descriptor 0.
        listener: TcpListener,
        /// The ports that it may connect to.
        ports: Vec<u16>,
        /// The path of the Unix socket that it may connect to.
        socket: Option<String>,
    },
}

/// The door to the spawner thread. The thread ends when the last clone is gone.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
    egress: egress::Seats,
    living: Living,
}

/// What the thread has made.
pub(super) struct Fresh {
    pub(super) group: Group,
    /// Our end of its stream.
    pub(super) stream: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// All of the source's.
    pub(super) secrets: Secrets,
    pub(super) targets: Targets,
}

impl Spawner {
    /// Starts the thread, which keeps the record of workers in `state_dir`.
    ///
    /// # Errors
    /// The system's, when it has no room for a thread.
    pub(super) fn new(state_dir: &Path) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let records = Records::new(state_dir);
        std::thread::Builder::new()
            .name("plexus-spawner".into())
            .spawn(move || run(&inbox, records))?;
        Ok(Self {
            orders,
            egress: egress::Seats::default(),
            living: Living::default(),
        })
    }

    /// Starts a worker; the calling task waits, the runtime does not.
    async fn start(
        &self,
        context: &Arc<Context<Group>>,
        spec: &Arc<Spec>,
        role: Role,
        egress: Option<u16>,
    ) -> Result<Fresh, StartError> {
        if spec.has_keeper() {
            let locks = runs::locks(&context.state_dir, &spec.source, role);
            let over = runs::over(&locks, &self.living).await;
            over.map_err(StartError::prepare("the end of its earlier runs"))?;
        }
        let folders = folders(spec, role).await?;
        let what = ProcessKind::Worker {
            role,
            code: spec.compared(role).await?,
            folders,
            egress,
        };
        self.order(context, spec, what).await
    }

    /// Starts the egress of a source.
    pub(super) async fn start_egress(
        &self,
        context: &Arc<Context<Group>>,
        spec: &Arc<Spec>,
        listener: TcpListener,
        ports: Vec<u16>,
        socket: Option<String>,
    ) -> Result<Fresh, StartError> {
        let what = ProcessKind::Egress {
            listener,
            ports,
            socket,
        };
        self.order(context, spec, what).await
    }

    async fn order(
        &self,
        context: &Arc<Context<Group>>,
        spec: &Arc<Spec>,
        what: ProcessKind,
    ) -> Result<Fresh, StartError> {
        let (reply, answer) = oneshot::channel();
        let (context, spec) = (Arc::clone(context), Arc::clone(spec));
        let order = Order::Start {
            context,
            spec,
            what,
            reply,
        };
        let gone = || StartError::Spawn(io::Error::other("the spawner is gone"));
        self.orders.send(order).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn run(inbox: &mpsc::Receiver<Order>, mut records: Records) {
    let mut dying: Vec<Child> = Vec::new();
    loop {
        let order = if dying.is_empty() {
            inbox
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(LOOK_AFTER)
        };
        match order {
            Ok(Order::Start {
                context,
                spec,
                what,
                reply,
            }) => {
                // A panic of the giver of secrets must not end this thread, and all workers with it.
                let attempt = AssertUnwindSafe(|| spawn(&context, &spec, what, &mut records));
                let panicked = |_| Err(StartError::Spawn(io::Error::other("the start panicked")));
                let spawned = catch_unwind(attempt).unwrap_or_else(panicked);
                // If nobody waits any more, dropping it ends it.
                drop(reply.send(spawned));
            }
            Ok(Order::Forget(pid)) => records.remove(pid),
            Ok(Order::Reap(child)) => dying.push(child),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        dying.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(_)) | Err(_) => {
                records.remove(child.id());
                false
            }
        });
    }
    // All of them are killed; what hangs in the kernel holds up nobody but this thread.
    for mut child in dying {
        drop(child.wait());
        records.remove(child.id());
    }
}

fn spawn(
    context: &Context<Group>,
    spec: &Spec,
    what: ProcessKind,
    records: &mut Records,
) -> Result<Fresh, StartError> {
    let secrets = (spec.secrets)().map_err(StartError::Secrets)?;
    let targets = Targets::make(context).map_err(StartError::prepare("the cage's test"))?;
    let mut keeping = None;
    let ((program, arguments), stdin) = match what {
        ProcessKind::Worker {
            role,
            code,
            folders,
            egress,
        } => {
            let parameters = parameters(context, spec, role, folders, egress)?;
            let limits = spec.offer.manifest.limits.of_process();
            let (launcher, worker) = (&context.launcher, worker(context, spec));
            let command = if spec.uncaged {
                uncaged_command(&limits, launcher, &worker)
            } else if spec.has_keeper() {
                let kept = children::kept(context, spec, role, &code, egress)?;
                keeping = Some(Keeping::new(kept.locks.clone(), &context.spawner.living));
                let profile = &spec.offer.profile;
                keeper_command(profile, &parameters, &limits, &kept, launcher, &worker)
            } else {
                launcher_command(&spec.offer.profile, &parameters, &limits, launcher, &worker)
            };
            (command, Stdio::null())
        }
        ProcessKind::Egress {
            listener,
            ports,
            socket,
        } => {
            let program = context.workers.join(egress::PROGRAM);
            let parameters = egress_parameters(&program, &listener, &ports, socket)
                .map_err(StartError::prepare("the egress's program"))?;
            let limits = plexus_ipc::egress::limits::of_process();
            let launcher = &context.launcher;
            let command =
                launcher_command(egress::PROFILE, &parameters, &limits, launcher, &program);
            (command, OwnedFd::from(listener).into())
        }
    };
    let (stream, theirs) = stream::pair().map_err(StartError::Spawn)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    command
        .fd_mappings(vec![FdMapping {
            parent_fd: theirs,
            child_fd: WORKER_FD,
        }])
        .map_err(|error| StartError::Spawn(io::Error::other(error)))?;
    os::die_with_this_thread(&mut command);
    let mut child = command.spawn().map_err(StartError::Spawn)?;
    let stderr = child.stderr.take();
    let group = Group {
        pid: child.id(),
        child: Some(child),
        spawner: context.spawner.clone(),
        keeping,
    };
    // A worker that is on no record would outlive a daemon that is killed: it is not let live at all.
    records
        .add(group.pid)
        .map_err(StartError::prepare("the record of workers"))?;
    let stderr = stderr.ok_or_else(|| StartError::Spawn(io::Error::other("no stderr")))?;
    Ok(Fresh {
        group,
        stream,
        stderr: stderr.into(),
        secrets,
        targets,
    })
}

pub(super) fn worker<P: Process>(context: &Context<P>, spec: &Spec) -> PathBuf {
    context.workers.join(&spec.offer.program)
}

/// The worker's own folder: what it keeps for undo.
pub(super) fn scratch_of<P: Process>(context: &Context<P>, spec: &Spec) -> PathBuf {
    context.state_dir.join("workers").join(spec.source.as_str())
}

/// The parameters of an egress's profile: `WORKER`, its own `PORT`, and the ports and the socket that it connects to.
fn egress_parameters(
    program: &Path,
    listener: &TcpListener,
    ports: &[u16],
    socket: Option<String>,
) -> io::Result<Vec<(String, String)>> {
    let own = listener.local_addr()?.port();
    let ports = ports.iter().enumerate();
    let ports = ports.map(|(at, port)| (format!("PORT_{at}"), port.to_string()));
    let mut parameters = vec![
        ("WORKER".to_owned(), resolved(program)?),
        ("PORT".to_owned(), own.to_string()),
    ];
    parameters.extend(ports);
    parameters.extend(socket.map(|path| ("SOCKET".to_owned(), path)));
    Ok(parameters)
}

/// The parameters of the profile: `WORKER`, `ROLE`, `SCRATCH`, one for each folder of the source, and `EGRESS_PORT` where
/// it reaches hosts. All paths are resolved.
fn parameters(
    context: &Context<Group>,
    spec: &Spec,
    role: Role,
    folders: Vec<(String, String)>,
    egress: Option<u16>,
) -> Result<Vec<(String, String)>, StartError> {
    let program = worker(context, spec);
    let worker = resolved(&program)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))
        .map_err(StartError::prepare("the worker's program"))?;
    let scratch = scratch_of(context, spec);
    let scratch = plexus_ipc::worker::durable::make_folder(&scratch)
        .and_then(|()| resolved(&scratch))
        .map_err(StartError::prepare("the worker's own folder"))?;
    let mut parameters = vec![
        ("WORKER".to_owned(), worker),
        ("ROLE".to_owned(), role.to_string()),
        ("SCRATCH".to_owned(), scratch),
    ];
    parameters.extend(folders);
    parameters.extend(egress.map(|port| ("EGRESS_PORT".to_owned(), port.to_string())));
    Ok(parameters)
}

/// The folders of a source, each resolved and behind its parameter, where a worker of this role may use all of them.
pub(super) async fn folders(spec: &Spec, role: Role) -> Result<Vec<(String, String)>, StartError> {
    let mut folders = Vec::new();
    for folder in &spec.folders {
        let mut paths = spec.offer.manifest.paths();
        let writes = role == Role::Writer
            && !spec.uncaged
            && paths.any(|(field, named)| field.writable && named == folder.parameter);
        folders.push((folder.parameter.clone(), found(folder, writes).await?));
    }
    Ok(folders)
}

/// A source's folder, resolved. Found out before the thread is asked: on a disk that does not answer it would keep the
/// thread from every other source.
async fn found(folder: &Folder, writes: bool) -> Result<String, StartError> {
    let (path, is_target) = (folder.path.clone(), folder.is_target.clone());
    let look = move || {
        let found = resolved(&path)?;
        let same = is_target.map_or(Ok(true), |is_target| is_target(Path::new(&found)))?;
        let denied = denied(&found, writes);
        Ok((found, same, denied))
    };
    let looked = inspection::at(&folder.path, look).await;
    let looked = looked.and_then(|found| found);
    let (found, same, denied) = looked.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::Gone(folder.path.clone()),
        _ => StartError::prepare("the source's folder")(error),
    })?;
    if Path::new(&found) != folder.path {
        return Err(StartError::Moved(folder.path.clone()));
    }
    if !same {
        return Err(StartError::Replaced(folder.path.clone()));
    }
    match denied {
        Some(act) => Err(StartError::Denied {
            act,
            folder: folder.path.clone(),
        }),
        None => Ok(found),
    }
}

/// An act of its workers that the system refuses this account in `folder`, also where it is root: a worker has no capabilities.
/// Left to the controls of a cage, it would be the cage that is blamed. On macOS the owner's consent may be missing (EPERM),
/// and the source says so itself. A disk that is only for reading keeps no worker from its start: a write there says so.
fn denied(folder: &str, writes: bool) -> Option<&'static str> {
    let is_mac = cfg!(target_os = "macos");
    let read = AccessFlags::R_OK | AccessFlags::X_OK;
    let acts = [
        ("read", !is_mac, read),
        ("write in", writes, AccessFlags::W_OK),
    ];
    let is_refusal = |error: Errno| error == Errno::EACCES || !is_mac && error == Errno::EPERM;
    let refused = |may| access(folder, may).is_err_and(is_refusal);
    let mut due = acts.into_iter().filter(|(_, is_due, _)| *is_due);
    let ask = || due.find_map(|(act, _, may)| refused(may).then_some(act));
    // If nobody could ask, the cage's controls do.
    without_capabilities(ask).ok().flatten()
}

/// The same for people, whatever is there: nothing is made and nothing is refused.
pub(super) fn named<P: Process>(
    context: &Context<P>,
    spec: &Spec,
    role: Role,
) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let worker = worker(context, spec);
    let worker = fs::canonicalize(&worker).unwrap_or(worker);
    let mut named = vec![
        ("WORKER".to_owned(), text(&worker)),
        ("ROLE".to_owned(), role.to_string()),
        ("SCRATCH".to_owned(), text(&scratch_of(context, spec))),
    ];
    let folders = spec.folders.iter();
    named.extend(folders.map(|folder| (folder.parameter.clone(), text(&folder.path))));
    named
}

pub(super) fn resolved(path: &Path) -> io::Result<String> {
    let path = fs::canonicalize(path)?;
    let text = path.into_os_string().into_string();
    text.map_err(|path| io::Error::other(format!("{} is not UTF-8", path.display())))
}

/// What one worker attacks at its start. Gone when dropped.
#[derive(Debug)]
pub(super) struct Targets {
    probe: Probe,
    /// Open so that a connection that the cage lets through would succeed.
    _listener: UnixListener,
}

impl Targets {
    pub(super) fn probe(&self) -> &Probe {
        &self.probe
    }

    fn make(context: &Context<Group>) -> io::Result<Self> {
        let dir = records::probe_dir(&context.state_dir);
        records::make_dir(&dir)?;
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let name = format!("{:016x}", u64::from_le_bytes(name));
        let canary = dir.join(format!("{name}.canary"));
        let unix_socket = dir.join(&name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&canary)?;
        file.write_all(b"A worker that can read this is not caged.\n")?;
        let listener =
            UnixListener::bind(&unix_socket).inspect_err(|_| drop(fs::remove_file(&canary)))?;
        Ok(Self {
            probe: Probe {
                canary,
                state_dir: context.state_dir.clone(),
                tcp_port: context.tcp_port,
                unix_socket,
                parent_pid: std::process::id(),
                // Of nobody yet: see where it is handed over.
                launcher_pid: 0,
            },
            _listener: listener,
        })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for path in [&self.probe.canary, &self.probe.unix_socket] {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(name: "worker.canary_left", %error, "cannot remove what a worker attacked at its start");
            }
        }
    }
}

/// A worker's process group, from start to reaping.
#[derive(Debug)]
pub(super) struct Group {
    pid: u32,
    /// `None` once it was reaped or handed over.
    child: Option<Child>,
    spawner: Spawner,
    /// Of a worker that may have runs.
    keeping: Option<Keeping>,
}

impl Process for Group {
    type Spawner = Spawner;
    type Stream = ReadHalf;
    type Targets = Targets;

    async fn revoke(context: &Arc<Context<Self>>, spec: &Arc<Spec>) -> Revocation {
        match context.spawner.egress.of(context, spec).await {
            Ok(Some(egress)) => egress.revoke().await,
            Ok(None) => Revocation::Unoffered { until: None },
            Err(_) => Revocation::Failed { until: None },
        }
    }

    async fn start(
        context: &Arc<Context<Self>>,
        spec: &Arc<Spec>,
        role: Role,
    ) -> Result<Spawned<Self>, StartError> {
        let egress = context.spawner.egress.of(context, spec).await?;
        let port = egress.as_ref().map(|egress| egress.port());
        let Fresh {
            group,
            stream,
            stderr,
            mut secrets,
            targets,
        } = context.spawner.start(context, spec, role, port).await?;
        // What the egress adds is none of the worker's.
        for entry in spec.offer.manifest.hosts() {
            drop(entry.secret.as_ref().and_then(|field| secrets.take(field)));
        }
        let ends = pipe::Receiver::from_owned_fd(stderr)
            .and_then(|stderr| Ok((stderr, gateway::connect(stream, role)?)));
        let (stderr, (out, inbox)) = match ends {
            Ok(ends) => ends,
            Err(error) => {
                group.end(REAP_WITHIN).await;
                return Err(StartError::Spawn(error));
            }
        };
        let probe = Probe {
            launcher_pid: group.pid,
            ..targets.probe.clone()
        };
        Ok(Spawned {
            stderr: stderr::follow(stderr, &spec.source, role, group.pid),
            process: group,
            out,
            inbox,
            secrets,
            egress,
            probe,
            targets,
        })
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn held(&self) -> Option<os::ProcessUsage> {
        os::held_by_group(self.pid)
    }

    fn slept(&self) -> Duration {
        os::slept()
    }

    fn signal(&self, signal: Signal) {
        let group = self
            .child
            .as_ref()
            .and_then(|_| records::worker_pid(self.pid));
        if let Some(group) = group {
            // The leader is not reaped yet, so the number is still this group's. A group of zombies answers EPERM on
            // macOS and nothing on Linux.
            let _ = killpg(group, signal);
        }
    }

    /// A leader that does not end in time hangs in the kernel: the spawner reaps it when it can.
    async fn end(mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        let child = self.child.as_mut()?;
        let status = tokio::time::timeout(patience, exit(child)).await.ok()?;
        self.child = None;
        drop(self.spawner.orders.send(Order::Forget(self.pid)));
        if let Some(keeping) = self.keeping.take() {
            keeping.ended().await.ok()?;
        }
        status.ok()
    }
}

/// Waits for a child without a thread of its own.
async fn exit(child: &mut Child) -> io::Result<ExitStatus> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        // Asked after the listener was made: an end between the two is not missed.
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ended.recv().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(child) = self.child.take() {
            drop(self.spawner.orders.send(Order::Reap(child)));
        }
    }
}
