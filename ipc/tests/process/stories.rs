//! What a gateway does with such a process, and what comes of it where there is no cage.

use super::page::MANIFEST;
use super::waiting::{PATIENCE, within};
use command_fds::{CommandFdExt, FdMapping};
use plexus_ipc::gateway::{self, Receiver, Sender};
use plexus_ipc::manifest::Manifest;
use plexus_ipc::message::{FromWorker, Probe, Role, Secrets, Start, ToWorker};
use plexus_ipc::stream::{self, WORKER_FD};
use plexus_protocol::SourceId;
use serde_json::json;
use std::{
    fs::File,
    io::Write,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixDatagram, UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const ALL: &[(&str, fn())] = stories![
    descriptor_3_must_be_the_gateways_stream,
    nothing_but_a_start_is_heard_first,
    without_a_cage_it_says_so_and_ends,
];

/// What a worker must not reach, and the folder that it serves.
pub(super) struct Scene {
    pub(super) folder: TempDir,
    state: TempDir,
    tcp: TcpListener,
    _unix: UnixListener,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::write(folder.path().join("a"), "alpha").unwrap();
        std::fs::write(state.path().join("canary"), "sings").unwrap();
        Self {
            _unix: UnixListener::bind(state.path().join("socket")).unwrap(),
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            folder,
            state,
        }
    }

    pub(super) fn root(&self) -> String {
        let resolved = self.folder.path().canonicalize().unwrap();
        resolved.to_str().unwrap().to_owned()
    }

    fn start(&self, role: Role, launcher_pid: u32) -> ToWorker {
        ToWorker::Start(Box::new(Start {
            uncaged: false,
            keeper: false,
            manifest: None,
            proof_only: false,
            source: SourceId::parse("page").unwrap(),
            role,
            launch: 1,
            config: json!({ "folder": self.root() })
                .to_string()
                .into_bytes()
                .into(),
            secrets: Secrets::default(),
            limits: Manifest::parse(MANIFEST).unwrap().limits,
            scratch: None,
            egress: None,
            probe: Probe {
                canary: self.state.path().join("canary"),
                state_dir: self.state.path().into(),
                tcp_port: self.tcp.local_addr().unwrap().port(),
                unix_socket: self.state.path().join("socket"),
                parent_pid: std::process::id(),
                launcher_pid,
            },
        }))
    }
}

/// A worker with `fd` as its descriptor 3, the leader of its own group.
fn spawn(arguments: &[&str], fd: Option<OwnedFd>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env_clear().process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(parent_fd) = fd {
        let child_fd = WORKER_FD;
        command
            .fd_mappings(vec![FdMapping {
                parent_fd,
                child_fd,
            }])
            .unwrap();
    }
    command.spawn().unwrap()
}

/// Its end, and what it logged.
fn end_of(child: Child) -> (ExitStatus, String) {
    let output = within(PATIENCE, "a worker's end", || child.wait_with_output());
    let output = output.unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn descriptor_3_must_be_the_gateways_stream() {
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unconnected = UnixListener::bind(TempDir::new().unwrap().path().join("s")).unwrap();
    for fd in [
        None,
        Some(File::open("/dev/null").unwrap().into()),
        Some(datagram.into()),
        Some(tcp.into()),
        Some(unconnected.into()),
    ] {
        let (status, log) = end_of(spawn(&["worker"], fd));
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("descriptor 3"), "{log}");
    }
}

fn nothing_but_a_start_is_heard_first() {
    let probe = plexus_ipc::frame::encode(&ToWorker::Probe { nonce: 1 }, 1024).unwrap();
    let huge = u32::MAX.to_le_bytes().to_vec();
    for (bytes, said) in [
        (probe, "Probe came before Start"),
        (huge, "a frame of"),
        (vec![], "no Start"),
    ] {
        let (ours, theirs) = stream::pair().unwrap();
        let child = spawn(&["worker"], Some(theirs));
        let mut ours = UnixStream::from(ours);
        ours.write_all(&bytes).unwrap();
        if bytes.is_empty() {
            drop(ours);
        }
        let (status, log) = end_of(child);
        assert_eq!(status.code(), Some(1));
        assert!(log.contains(said), "{log}");
    }
}

/// Talks to a worker as a gateway does.
pub(super) fn talk<T>(
    arguments: &[&str],
    role: Role,
    scene: &Scene,
    talk: impl AsyncFnOnce(Sender, Receiver) -> T,
) -> (T, ExitStatus, String) {
    let (ours, theirs) = stream::pair().unwrap();
    let child = spawn(arguments, Some(theirs));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let said = runtime.block_on(async {
        let (say, hear) = gateway::connect(ours, role).unwrap();
        say.send(scene.start(role, child.id())).await.unwrap();
        let story = talk(say, hear);
        tokio::time::timeout(Duration::from_secs(20), story)
            .await
            .expect("nothing happens")
    });
    drop(runtime);
    let (status, log) = end_of(child);
    (said, status, log)
}

fn without_a_cage_it_says_so_and_ends() {
    let scene = Scene::new();
    let ((), status, log) = talk(&["worker"], Role::Reader, &scene, async |_say, mut hear| {
        let Some(FromWorker::Hello { cage, build }) = hear.next().await.unwrap() else {
            panic!("no Hello");
        };
        assert_eq!(build, plexus_ipc::BUILD);
        assert!(!cage.sound());
        let holes: Vec<_> = cage.failures().map(|check| check.name.as_str()).collect();
        assert!(holes.contains(&"open the canary"), "{holes:?}");
        assert!(holes.contains(&"create a file in the root"), "{holes:?}");
        assert!(hear.next().await.unwrap().is_none(), "it opens nothing");
    });
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("the cage is not sound"), "{log}");
}
