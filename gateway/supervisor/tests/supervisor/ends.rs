//! Nothing is left: not by a stop, not by a worker that will not go, not by a daemon that is killed.

use super::stage::{PATIENCE, Stage, eventually, exists, output, pace, signal};
use nix::sys::signal::Signal;
use plexus_ipc::message::Role;
use plexus_supervisor::{Notice, Pace, sweep_leftovers};
use serde_json::{Value, json};
use std::time::Duration;

fn recorded(stage: &Stage) -> Vec<u64> {
    let bytes = std::fs::read(stage.state.join("run/workers.json")).expect("a record");
    let records: Value = serde_json::from_slice(&bytes).expect("JSON");
    let records = records.as_array().expect("a list");
    records
        .iter()
        .map(|record| record["pid"].as_u64().expect("a pid"))
        .collect()
}

#[tokio::test]
async fn a_shutdown_leaves_no_process_no_record_and_no_file() {
    use std::os::unix::fs::PermissionsExt;
    let mut stage = Stage::new();
    stage.echoes().await;
    assert_eq!(
        output(stage.commit(json!({"line": "x"})).await),
        json!("appended")
    );
    let pids = [stage.pid(Role::Reader), stage.pid(Role::Writer)];
    let mut known = recorded(&stage);
    known.sort_unstable();
    let mut expected = pids.map(u64::from);
    expected.sort_unstable();
    assert_eq!(known, expected);
    let mode = std::fs::metadata(stage.state.join("run/workers.json"))
        .expect("a record")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(pids.iter().all(|pid| exists(*pid)), "the control: they run");

    stage.supervisor.shutdown().await;
    assert!(!pids.iter().any(|pid| exists(*pid)), "a worker is left");
    eventually("the record is empty", || recorded(&stage).is_empty()).await;
    let left = std::fs::read_dir(stage.state.join("run/probe")).expect("a folder");
    assert_eq!(
        left.count(),
        0,
        "what workers attack at their start is gone"
    );
    let mut ended = 0;
    while let Ok(notice) = stage.notices.try_recv() {
        let Notice::Ended { cause, exit, .. } = notice else {
            continue;
        };
        assert!(cause.asked_for(), "{cause}");
        assert!(exit.0.is_some(), "it was reaped");
        ended += 1;
    }
    assert_eq!(ended, pids.len());
}

#[tokio::test]
async fn a_worker_that_will_not_go_is_made_to() {
    let hasty = Pace {
        stop_within: Duration::from_millis(50),
        signal_within: Duration::from_millis(50),
        ..pace()
    };
    // It hears nothing, not even SIGTERM, until it is killed.
    let mut stage = Stage::with(hasty);
    stage.echoes().await;
    let pid = stage.started(Role::Reader).await;
    signal(pid, Signal::SIGSTOP);
    stage.supervisor.shutdown().await;
    assert!(!exists(pid));

    // It hears, and does not do as it is told.
    let mut stage = Stage::rude("stay", hasty);
    assert_eq!(output(stage.read("echo", json!({})).await), json!("fine"));
    let pid = stage.started(Role::Reader).await;
    stage.supervisor.shutdown().await;
    assert!(!exists(pid));
}

#[tokio::test]
async fn a_shutdown_during_a_start_leaves_nothing() {
    let stage = Stage::rude("silence", pace());
    let reading = stage.reading(super::stage::call("echo", json!({})));
    eventually("a start", || stage.state.join("run/workers.json").exists()).await;
    let pids = recorded(&stage);
    assert_eq!(pids.len(), 1);
    stage.supervisor.shutdown().await;
    assert!(!exists(pids[0].try_into().expect("a pid")));
    let refused = reading.await.expect("a task").expect_err("stopped");
    assert_eq!(refused, plexus_supervisor::DispatchError::ShuttingDown);
}

#[tokio::test]
async fn the_next_daemon_ends_what_a_killed_one_left() {
    let mut stage = Stage::new();
    stage.echoes().await;
    let pid = stage.started(Role::Reader).await;
    // Another daemon boots on the same state: what is on record is not its own.
    assert_eq!(sweep_leftovers(&stage.state).expect("a sweep"), [pid]);
    assert_eq!(sweep_leftovers(&stage.state).expect("a sweep"), [0; 0]);
    let gone = || stage.supervisor.workers()[0].pid != Some(pid);
    eventually("the worker is gone", gone).await;
    stage.supervisor.shutdown().await;
}

/// The worker does not mind the end of its stream: what ends it is the kernel.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_that_is_killed_takes_its_workers_along() {
    use super::waiting::lines;
    use std::process::{Command, Stdio};
    // What it leaves is removed with this.
    let home = tempfile::tempdir().expect("a folder");
    let mut daemon = Command::new(super::stage::example("doomed"))
        .env("TMPDIR", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a daemon");
    let line = lines(daemon.stdout.take().expect("a pipe")).next();
    let pid: u32 = line.expect("a line").parse().expect("a pid");
    assert!(runs(pid), "the control");
    daemon.kill().expect("a daemon");
    daemon.wait().expect("a daemon");
    eventually("its worker is gone", || !runs(pid)).await;
}

/// Whether the process is more than a zombie: an orphan is reaped by the process that adopted it, in its own time.
#[cfg(target_os = "linux")]
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A supervisor that is dropped without a word, as a panic or a runtime's end would do it.
#[test]
fn a_dropped_runtime_leaves_no_process() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (stage, pid) = runtime.block_on(async {
        let mut stage = Stage::new();
        stage.echoes().await;
        let pid = stage.started(Role::Reader).await;
        (stage, pid)
    });
    assert!(exists(pid));
    drop(runtime);
    let since = std::time::Instant::now();
    while exists(pid) {
        assert!(since.elapsed() < PATIENCE, "{pid} is left");
        std::thread::yield_now();
    }
    drop(stage);
}
