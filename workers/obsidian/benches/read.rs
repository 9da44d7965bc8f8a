//! What a read costs in a vault of 5,000 notes: the vault alone, and behind the harness over a socket pair with both ends
//! in one thread. The notes read have 1 KB. `LIMITS` leaves a worker 10 to 20 µs a call; the file system's part of
//! that is measured apart, as `bytes_only`.

use divan::{Bencher, black_box, counter::ItemsCount};
use plexus_ipc::{
    gateway::{Receiver, Sender, connect},
    manifest::Manifest,
    message::{Call, FromWorker, Probe, Role, Start, ToWorker},
    stream,
    worker::{Source, serve::serve},
};
use plexus_protocol::Digest;
use plexus_rooted_files::{PathRule, Policy, RelPath, Root};
use plexus_worker_obsidian::{MANIFEST, ObsidianSource, ReadInput, Vault};
use serde_json::json;
use std::{fs, sync::LazyLock};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Nothing to parse; links; front matter, tags and links; by name.
const NOTES: [&str; 4] = [
    "Areas/Plain.md",
    "Areas/Linked.md",
    "Areas/Full.md",
    "Plain",
];

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5000 {
        let path = folder
            .path()
            .join(format!("Area {}/Sub {}", number % 20, number % 7));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("Note {number}.md")), "# A note\n").unwrap();
    }
    let write = |name: &str, text: String| {
        fs::write(folder.path().join("Areas").join(name), fill(text)).unwrap();
    };
    fs::create_dir(folder.path().join("Areas")).unwrap();
    let links = "See [[Note 17]], [[Note 4021|that]], [x](../Area%203/Note.md) and [[Nowhere]].\n";
    write("Plain.md", "# Plain\n\nNo links.\n\n".to_owned());
    write("Linked.md", format!("# Linked\n\n{links}\n"));
    write(
        "Full.md",
        format!("---\ntags: [a, b/c]\nstatus: open\n---\n# Full\n\n#tag {links}\n"),
    );
    folder
});

fn main() {
    LazyLock::force(&FOLDER);
    divan::main();
    fs::remove_dir_all(FOLDER.path()).unwrap();
}

fn fill(mut text: String) -> String {
    while text.len() < 1024 {
        text.push_str("Some words - of prose, as people *write* them.\n");
    }
    text.truncate(1024);
    text
}

/// One read, the index warm.
#[divan::bench(args = NOTES)]
fn vault(bencher: Bencher<'_, '_>, path: &str) {
    let vault = Vault::open(FOLDER.path()).unwrap();
    let input = ReadInput {
        path: Some(path.to_owned()),
        ..ReadInput::default()
    };
    vault.read(&input, PathRule::all(), &|| false).unwrap();
    bencher.bench(|| {
        vault
            .read(black_box(&input), PathRule::all(), &|| false)
            .unwrap()
    });
}

/// The floor: the system calls and the digest, nothing of Obsidian.
#[divan::bench]
fn bytes_only(bencher: Bencher<'_, '_>) {
    let policy = Policy {
        allow_hard_links: false,
        hide_dot_files: true,
    };
    let root = Root::open(FOLDER.path(), policy).unwrap();
    let path = RelPath::parse(NOTES[0]).unwrap();
    bencher.bench(|| root.read(black_box(&path)).unwrap().digest());
}

/// The first read of a note with links: it waits for the walk.
#[divan::bench]
fn first_read(bencher: Bencher<'_, '_>) {
    let input = ReadInput {
        path: Some(NOTES[1].to_owned()),
        ..ReadInput::default()
    };
    bencher
        .with_inputs(|| Vault::open(FOLDER.path()).unwrap())
        .bench_values(|vault| vault.read(&input, PathRule::all(), &|| false).unwrap());
}

/// A thousand reads through frames, table and harness, one or 64 under way.
#[divan::bench(args = [("Areas/Plain.md", 1), ("Areas/Plain.md", 64), ("Areas/Linked.md", 64), ("Plain", 64)])]
fn served(bencher: Bencher<'_, '_>, (path, at_once): (&str, u64)) {
    const READS: u64 = 1024;
    let runtime = runtime();
    let (say, mut hear) = runtime.block_on(start());
    bencher.counter(ItemsCount::new(READS)).bench_local(|| {
        runtime.block_on(async {
            for id in 0..at_once {
                say.send(ToWorker::Read(call(id, path))).await.unwrap();
            }
            for answered in 0..READS {
                match hear.next().await.unwrap() {
                    Some(FromWorker::Done(done)) => assert!(done.result.is_ok()),
                    other => panic!("{other:?}"),
                }
                let next = answered + at_once;
                if next < READS {
                    say.send(ToWorker::Read(call(next, path))).await.unwrap();
                }
            }
        });
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn call(id: u64, path: &str) -> Call {
    let input = json!({ "path": path }).to_string().into_bytes();
    Call {
        id,
        audit: None,
        capability: "vault.read".into(),
        input_digest: Digest::of(&input),
        input: input.into(),
        constraint: None,
        owner: false,
        deadline_ms: 30_000,
    }
}

async fn start() -> (Sender, Receiver) {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let (ours, theirs) = stream::pair().unwrap();
    let start = Start {
        uncaged: false,
        keeper: false,
        manifest: None,
        proof_only: false,
        source: "vault".parse().unwrap(),
        role: Role::Reader,
        launch: 1,
        config: json!({ "vaultPath": FOLDER.path() })
            .to_string()
            .into_bytes()
            .into(),
        secrets: Default::default(),
        limits: manifest.limits,
        scratch: None,
        egress: None,
        probe: Probe {
            canary: "/c".into(),
            state_dir: "/s".into(),
            tcp_port: 1,
            unix_socket: "/u".into(),
            parent_pid: 2,
            launcher_pid: 3,
        },
    };
    let check = |kind| json!({"name": "not tried", "kind": kind, "held": true, "detail": ""});
    let sound =
        serde_json::from_value(json!({"checks": [check("attack"), check("control")]})).unwrap();
    tokio::spawn(async move {
        let (read, write) = stream::split(theirs).unwrap();
        serve(
            start,
            &manifest,
            ObsidianSource::handlers(),
            sound,
            read,
            write,
        )
        .await
    });
    let (say, mut hear) = connect(ours, Role::Reader).unwrap();
    loop {
        match hear.next().await.unwrap() {
            Some(FromWorker::Opened { .. }) => return (say, hear),
            Some(_) => {}
            None => panic!("the worker ended"),
        }
    }
}
