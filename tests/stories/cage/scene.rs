//! A gateway whose workers are all hostile, and everything there is to attack around it.

use plexus_tests::cage::{ASKED, ORDERS, Orders, Outcome, Targets};
use plexus_tests::waiting::{ended, lines};
use plexus_tests::{Agent, Builder, Folder, Gateway, Response, binaries};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, FileTimes, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
#[cfg(target_arch = "x86_64")]
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const PROGRAM: &str = "plexus-worker-hostile";
const LAUNCHER: &str = "plexus-sandbox-exec";
/// A program that nobody runs.
const IDLE: &str = "plexus-worker-idle";

/// A connector in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Obsidian,
    Git,
    WorkspaceReader,
    WorkspaceWriter,
}

impl Subject {
    /// Every profile in every role that it has.
    pub(super) const ALL: [Self; 4] = [
        Self::Obsidian,
        Self::Git,
        Self::WorkspaceReader,
        Self::WorkspaceWriter,
    ];
    /// The column's head.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Obsidian => "obsidian reader",
            Self::Git => "git reader",
            Self::WorkspaceReader => "workspace reader",
            Self::WorkspaceWriter => "workspace writer",
        }
    }
    pub(super) fn writes(self) -> bool {
        self == Self::WorkspaceWriter
    }
    fn connector(self) -> &'static str {
        match self {
            Self::Obsidian => "obsidian",
            Self::Git => "git",
            Self::WorkspaceReader | Self::WorkspaceWriter => "workspace",
        }
    }
    fn capability(self) -> &'static str {
        match self {
            Self::Obsidian => "obsidian.vault.read",
            Self::Git => "git.search",
            Self::WorkspaceReader => "workspace.read",
            Self::WorkspaceWriter => "workspace.write",
        }
    }
    fn input(self, asked: &str) -> Value {
        let asked = format!("{ASKED}{asked}");
        match self {
            Self::Obsidian | Self::WorkspaceReader => json!({"path": asked}),
            Self::Git => json!({"query": asked}),
            Self::WorkspaceWriter => json!({"path": "hostile.txt", "content": asked}),
        }
    }
    fn manifest(self) -> Value {
        let text = match self {
            Self::Obsidian => include_str!("../../../workers/obsidian/manifest.json"),
            Self::Git => include_str!("../../../workers/git/manifest.json"),
            Self::WorkspaceReader | Self::WorkspaceWriter => {
                include_str!("../../../workers/workspace/manifest.json")
            }
        };
        serde_json::from_str(text).expect("a manifest")
    }
}

/// The folders that the sources serve, with a socket of each kind in each.
struct Served {
    folder: Folder,
    _stream: UnixListener,
    _datagram: UnixDatagram,
}

/// All of it.
pub(super) struct Scene {
    pub(super) gateway: Gateway,
    workers: Folder,
    served: BTreeMap<&'static str, Served>,
    outside: Folder,
    agents: BTreeMap<&'static str, Agent>,
    bystander: Free,
    _tcp6: Option<TcpListener>,
    _udp: UdpSocket,
    _abstract: UnixListener,
    targets: BTreeMap<&'static str, Targets>,
    /// So that no two effects have one input.
    asked: AtomicU64,
}

impl Scene {
    pub(super) fn open() -> Self {
        Self::with(|orders| orders)
    }

    /// With orders that differ from the usual ones.
    pub(super) fn with(change: impl Fn(Orders) -> Orders) -> Self {
        let workers = programs();
        let outside = Folder::empty();
        let served: BTreeMap<_, _> = ["obsidian", "git", "workspace"]
            .map(|connector| (connector, Served::new(&outside)))
            .into();
        let path = |connector| served[connector].folder.path();
        // A repository is one by these.
        for (name, content) in [
            ("HEAD", "ref: refs/heads/main\n"),
            ("objects/x", ""),
            ("refs/x", ""),
        ] {
            served["git"].folder.write(&format!(".git/{name}"), content);
        }
        let bystander = Free::bystander();
        let tcp6 = TcpListener::bind("[::1]:0").ok();
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let abstract_name = outside.path().display().to_string();
        let name = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let listener = UnixListener::bind_addr(&name).expect("an abstract socket");
        let gateway = Builder::default()
            .vault(&path("obsidian"))
            .workspace(&path("workspace"))
            .arg("--workers")
            .arg(&workers.path().to_string_lossy())
            .start();
        // Not by the command, which would start the worker to test it.
        let git = json!({"id": "git", "kind": "git-repository", "label": "git", "route": {"path": path("git")}});
        let owner = gateway.owner();
        owner.post("/admin/api/sources", git).expect_ok();
        let mut targets = BTreeMap::new();
        for subject in Subject::ALL {
            let root = path(subject.connector());
            let neighbour = if subject.connector() == "obsidian" {
                "workspace"
            } else {
                "obsidian"
            };
            let limits = &subject.manifest()["limits"];
            targets.insert(
                subject.connector(),
                Targets {
                    outside: outside.path(),
                    state: gateway.state(),
                    neighbour: path(neighbour),
                    gateway: gateway.pid(),
                    bystander: bystander.0.id(),
                    tcp: gateway.port(),
                    tcp6: tcp6
                        .as_ref()
                        .and_then(|listener| Some(listener.local_addr().ok()?.port())),
                    udp: udp.local_addr().expect("an address").port(),
                    stream: root.join("stream.sock"),
                    datagram: root.join("datagram.sock"),
                    abstract_name: abstract_name.clone(),
                    program: workers
                        .path()
                        .join(format!("plexus-worker-{}", subject.connector())),
                    written: [
                        workers
                            .path()
                            .join(format!("plexus-worker-{}", subject.connector())),
                        workers.path().join(LAUNCHER),
                    ],
                    open_files: limits["openFiles"].as_u64().expect("a limit"),
                    file_bytes: limits["fileBytes"].as_u64().expect("a limit"),
                    memory: limits["memoryMiB"].as_u64().expect("a limit") << 20,
                    root,
                },
            );
        }
        let agents = Subject::ALL
            .map(|subject| (subject.title(), agent(&gateway, subject)))
            .into();
        let scene = Self {
            gateway,
            workers,
            served,
            outside,
            agents,
            bystander,
            _tcp6: tcp6,
            _udp: udp,
            _abstract: listener,
            targets,
            asked: AtomicU64::new(0),
        };
        scene.order(change);
        scene
    }

    /// Gives every worker that starts from now on its orders.
    pub(super) fn order(&self, change: impl Fn(Orders) -> Orders) {
        for (connector, targets) in &self.targets {
            let orders = change(Orders {
                targets: targets.clone(),
                start: None,
                born_hostile: false,
                stays: false,
            });
            let text = serde_json::to_string(&orders).expect("orders");
            self.served[connector].folder.write(ORDERS, text);
        }
    }

    /// A call in which the worker does what `name` names.
    pub(super) fn ask(&self, subject: Subject, name: &str) -> Response {
        let mut input = subject.input(name);
        if subject.writes() {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            input["path"] = json!(format!("hostile-{asked}.txt"));
        }
        self.agents[subject.title()].invoke(subject.capability(), input)
    }

    /// A write that the owner has to decide on; gives its pending id.
    #[track_caller]
    pub(super) fn must_ask(&self, name: &str) -> String {
        let input = Subject::WorkspaceWriter.input(name);
        self.agents[Subject::WorkspaceReader.title()].must_ask("workspace.write", input)
    }

    /// What came of a probe, and which process did it.
    #[track_caller]
    pub(super) fn caged(&self, subject: Subject, name: &str) -> (Outcome, u64) {
        let mut answer = self.ask(subject, name).expect_ok();
        let outcome = answer["output"]["outcome"].take();
        (
            serde_json::from_value(outcome).expect("an outcome"),
            answer["output"]["pid"].as_u64().expect("a pid"),
        )
    }

    /// What comes of it without a cage, as the same program, in a process of its own.
    #[track_caller]
    pub(super) fn uncaged(&self, subject: Subject, name: &str) -> Outcome {
        let idle = self.workers.path().join(IDLE);
        let targets = Targets {
            written: [idle.clone(), idle],
            ..self.targets[subject.connector()].clone()
        };
        let targets = serde_json::to_string(&targets).expect("targets");
        let output = Command::new(self.workers.path().join(PROGRAM))
            .args(["uncaged", name, &targets])
            .current_dir(self.outside.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("the control starts");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{name}, uncaged: {error}; it ended with {}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Whether an act works without a cage, as the same program; or the signal that ended it.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn works_uncaged(act: &str) -> Result<bool, i32> {
        let status = Command::new(binaries::path(PROGRAM))
            .args(["act", act])
            .env_clear()
            .status()
            .expect("the control starts");
        status.signal().map_or(Ok(status.success()), Err)
    }

    /// Puts everything back that a probe may have changed in the source's folder.
    pub(super) fn put_right(&self, subject: Subject) {
        let root = self.served[subject.connector()].folder.path();
        put_right(&root, "inside\n");
    }

    /// The same beside the sources' folders, where every source attacks.
    pub(super) fn put_outside_right(&self) {
        put_right(&self.outside.path(), "outside\n");
    }

    /// What a refused probe must have left as it was: every name beside and in the source's folder, with what the
    /// kernel knows of it and what is in it.
    pub(super) fn world(&self, subject: Subject) -> BTreeMap<PathBuf, String> {
        let mut world = BTreeMap::new();
        for folder in [
            self.outside.path(),
            self.served[subject.connector()].folder.path(),
        ] {
            record(&folder, &mut world);
        }
        world
    }

    /// Runs `work` while a folder in the root and a link of that name that leads out take turns.
    pub(super) fn turning<T>(&self, subject: Subject, work: impl FnOnce() -> T) -> T {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        let root = self.served[subject.connector()].folder.path();
        let (name, other) = (root.join("turning"), root.join("turning-link"));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let turns = scope.spawn(|| {
                let mut turns = 0_u32;
                // An even number, so that the folder is where it was.
                while !over.load(Ordering::Relaxed) || turns % 2 == 1 {
                    renameat2(
                        AT_FDCWD,
                        &name,
                        AT_FDCWD,
                        &other,
                        RenameFlags::RENAME_EXCHANGE,
                    )
                    .expect("two names");
                    turns += 1;
                    std::thread::yield_now();
                }
                turns
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            assert!(turns.join().expect("nobody panics") > 0, "it was swapped");
            done
        })
    }

    pub(super) fn bystander_lives(&mut self) -> bool {
        self.bystander.lives()
    }

    /// Open descriptors of the gateway.
    pub(super) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.gateway.pid()))
            .expect("our own child")
            .count()
    }
}

/// The launcher that the product has, and one program under every connector's name.
fn programs() -> Folder {
    let folder = Folder::empty();
    let copy = |from: &Path, name: &str| {
        fs::copy(from, folder.path().join(name)).expect("a copy of a program");
    };
    let link = |from: &str, name: &str| {
        let from = binaries::path(from);
        if fs::hard_link(&from, folder.path().join(name)).is_err() {
            copy(&from, name);
        }
    };
    copy(Path::new("/usr/bin/true"), IDLE);
    link(LAUNCHER, LAUNCHER);
    link(PROGRAM, PROGRAM);
    for connector in ["obsidian", "workspace", "git"] {
        link(PROGRAM, &format!("plexus-worker-{connector}"));
    }
    folder
}

/// Each has its own rate of calls, and a writer may write without being asked.
fn agent(gateway: &Gateway, subject: Subject) -> Agent {
    let id = subject.title().replace(' ', "-");
    let capability = subject.capability();
    let standing = if subject.writes() {
        vec![capability]
    } else {
        Vec::new()
    };
    gateway.agent_as(json!({"agentId": id, "capabilities": [capability], "standing": standing}))
}

impl Served {
    fn new(outside: &Folder) -> Self {
        let folder = Folder::empty();
        let path = folder.path();
        put_right(&path, "inside\n");
        put_right(&outside.path(), "outside\n");
        if !outside.has("second.md") {
            outside.write("second.md", "second\n");
            symlink("nowhere", outside.path().join("link")).expect("a link");
        }
        fs::hard_link(outside.path().join("second.md"), path.join("second-name"))
            .expect("a second name");
        symlink(outside.path().join("note.md"), path.join("leads-out")).expect("a link");
        folder.write("turning/note.md", "inside\n");
        symlink(outside.path(), path.join("turning-link")).expect("a link");
        fs::copy("/usr/bin/true", path.join("program")).expect("a program");
        Self {
            _stream: UnixListener::bind(path.join("stream.sock")).expect("a socket"),
            _datagram: UnixDatagram::bind(path.join("datagram.sock")).expect("a socket"),
            folder,
        }
    }
}

/// What probes make if they are let.
const LEFTOVERS: [&str; 12] = [
    ".envrc", "new", "moved", "taken", "stolen", "leaked", "planted", "pipe", "device", "renamed",
    "listener", "long",
];

fn put_right(folder: &Path, content: &str) {
    for name in LEFTOVERS {
        let _ = fs::remove_file(folder.join(name));
    }
    let _ = fs::remove_dir(folder.join("folder-new"));
    let _ = fs::create_dir(folder.join("folder"));
    let note = folder.join("note.md");
    // A new file, so that neither flags nor attributes nor a second name are left on it.
    let fresh = folder.join("note.fresh");
    fs::write(&fresh, content).expect("a file");
    fs::set_permissions(&fresh, Permissions::from_mode(0o644)).expect("a mode");
    let then = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    fs::File::options()
        .write(true)
        .open(&fresh)
        .and_then(|file| file.set_times(then))
        .expect("times");
    fs::rename(&fresh, &note).expect("a file");
}

fn record(folder: &Path, world: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let about = path.symlink_metadata().expect("it is there");
        let content = if about.is_file() {
            fs::read(&path).expect("a file")
        } else {
            Vec::new()
        };
        world.insert(
            path.clone(),
            format!(
                "{:o} {} links {} changed {}.{} attributes {}: {}",
                about.mode(),
                about.uid(),
                about.nlink(),
                about.mtime(),
                about.mtime_nsec(),
                attributes(&path),
                plexus_protocol::Digest::of(&content)
            ),
        );
        if about.is_dir() {
            record(&path, world);
        }
    }
}

/// How long the list of a file's attributes is.
fn attributes(path: &Path) -> usize {
    rustix::fs::llistxattr(path, &mut [] as &mut [u8]).unwrap_or_default()
}

/// A process of the hostile program that is in no cage and stays until it is dropped.
pub(super) struct Free(Child);

impl Free {
    /// One that has nothing to do with it all, and that lets itself be looked into where the machine asks for that.
    pub(super) fn bystander() -> Self {
        Self::start(&["act", "traceable", "stay"])
    }

    /// One that is deaf to being asked to go.
    pub(super) fn stubborn() -> Self {
        Self::start(&["stubborn"])
    }

    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(binaries::path(PROGRAM))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = lines(child.stdout.take().expect("a pipe"));
        let line = said.next().expect("it says that it is there");
        assert!(line.starts_with("here "), "{line}");
        Self(child)
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("our child").is_none()
    }

    /// How it ends when it is sent SIGTERM, and then what it waits for.
    pub(super) fn ask_to_go(mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("our child");
        drop(self.0.stdin.take());
        ended("a program that was told SIGTERM", &mut self.0)
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // which is what it waits for
        _ = self.0.wait();
    }
}
