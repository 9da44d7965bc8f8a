//! Starts that fail, and what follows.

use super::stage::{PATIENCE, Stage, call, output, pace};
use plexus_ipc::message::{Role, Secrets};
use plexus_supervisor::{
    Cause, DispatchError, Health, Notice, Pace, START_ATTEMPTS, StartError, TrialFailure,
    Unavailable, WorkerState,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// What an agent is told of it.
fn told(error: &DispatchError) -> Option<&str> {
    match error {
        DispatchError::Unavailable { told, .. } => Some(told),
        _ => None,
    }
}

fn cannot(error: &DispatchError) -> Option<(Unavailable, &str)> {
    match error {
        DispatchError::Unavailable {
            reason, message, ..
        } => Some((*reason, message)),
        _ => None,
    }
}

#[tokio::test]
async fn five_failed_starts_make_it_failed_and_time_mends_it() {
    let mut stage = Stage::with(Pace {
        failed_pause: Duration::from_millis(200),
        ..pace()
    });
    stage.touch("die");
    let error = stage.read("echo", json!({})).await.expect_err("no worker");
    let (reason, message) = cannot(&error).expect("a reason");
    assert_eq!(reason, Unavailable::CannotStart);
    assert!(message.contains("exit status: 3"), "{message}");
    let ended = Some("The source's worker ended before it served.");
    assert_eq!(told(&error), ended);
    assert_eq!(stage.health().told, ended);
    for n in 1..=START_ATTEMPTS {
        let attempts = stage.notice(|notice| match notice {
            Notice::StartFailed { attempts, .. } => Some(*attempts),
            _ => None,
        });
        assert_eq!(attempts.await, n);
    }
    let worker = &stage.supervisor.workers()[0];
    assert_eq!(worker.state, WorkerState::Failed);
    assert_eq!(stage.health().status, Health::Unavailable);
    // While it is failed nobody waits for a start.
    let failed = stage.read("echo", json!({})).await.expect_err("failed");
    assert_eq!(cannot(&failed).map(|e| e.0), Some(reason));
    stage.untouch("die");
    // Nobody calls: the timer tries by itself.
    stage.started(Role::Reader).await;
    stage.echoes().await;
    assert_eq!(stage.health().status, Health::Ok);
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_source_that_cannot_be_opened_says_why_at_once_and_a_probe_tries_again() {
    let stage = Stage::with(Pace {
        backoff: Duration::from_secs(3600),
        ..pace()
    });
    stage.touch("closed");
    let error = stage.read("echo", json!({})).await.expect_err("no source");
    let closed = (Unavailable::CannotOpen, "the folder is closed");
    assert_eq!(cannot(&error), Some(closed));
    let of_agents = told(&error);
    assert!(of_agents.is_some_and(|told| !told.contains("closed")));
    let health = stage.probed().await;
    assert_eq!(
        (health.status, health.detail.as_deref()),
        (Health::Unavailable, Some("the folder is closed"))
    );
    assert_eq!(health.told, of_agents);
    stage.untouch("closed");
    assert_eq!(stage.probed().await.status, Health::Ok);
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_folder_that_is_gone_is_said_by_name() {
    let stage = Stage::new();
    std::fs::remove_dir(&stage.root).expect("an empty folder");
    let error = stage.read("echo", json!({})).await.expect_err("no folder");
    let (reason, message) = cannot(&error).expect("a reason");
    assert_eq!(reason, Unavailable::CannotStart);
    let gone = format!("the folder {} is not there", stage.root.display());
    assert_eq!(message, gone);
    // A link in its place leads elsewhere, and is no more followed.
    std::os::unix::fs::symlink(&stage.state, &stage.root).expect("a link");
    let error = stage.read("echo", json!({})).await.expect_err("no folder");
    let (_, message) = cannot(&error).expect("a reason");
    assert!(message.contains("leads elsewhere"), "{message}");
    assert_eq!(told(&error), Some("The source is not where it was."));
    stage.supervisor.shutdown().await;
}

/// Its cage is not blamed for it, also not by root, whose workers have no capabilities.
#[tokio::test]
async fn folder_that_the_system_refuses_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    let set = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&stage.root, mode).expect("its mode");
    };
    set(0o500);
    stage.echoes().await;
    let spec = || stage.spec("tame", json!({}), 1);
    let refused = |act: &str| {
        let folder = stage.root.display();
        format!("the system does not let Plexus {act} the folder {folder}")
    };
    let tried = stage.supervisor.try_start(spec(), Role::Writer).await;
    assert!(
        matches!(&tried, Err(TrialFailure::Folder(why)) if *why == refused("write in")),
        "{tried:?}"
    );
    // It is known before the first change.
    let probed = stage.probed().await;
    let why = format!("nothing can be written: {}", refused("write in"));
    assert_eq!(probed.status, Health::Degraded);
    assert_eq!(probed.detail, Some(why));
    // And stays known, until a later probe finds otherwise.
    assert_eq!(stage.health().detail, probed.detail);
    set(0o700);
    assert_eq!(stage.probed().await.status, Health::Ok);
    assert_eq!(stage.health().status, Health::Ok);
    set(0o000);
    let tried = stage.supervisor.try_start(spec(), Role::Reader).await;
    assert!(
        matches!(&tried, Err(TrialFailure::Folder(why)) if *why == refused("read")),
        "{tried:?}"
    );
    set(0o700);
    stage.supervisor.shutdown().await;
}

/// A source gets its secret once it is there: only one that stays without is told of, unless somebody asks.
#[tokio::test]
async fn unset_secret_is_told_late_unless_asked() {
    let stage = |pace: Pace| {
        let stage = Stage::empty(pace);
        let mut spec = stage.spec("tame", json!({}), 1);
        let of = Arc::get_mut(&mut spec).expect("the only one");
        let mut offer = (*of.offer).clone();
        Arc::make_mut(&mut offer.manifest).resident = true;
        of.offer = offer.into();
        let file = stage.root.join("secret");
        of.secrets = Box::new(move || {
            std::fs::read(&file)?;
            Ok(Secrets::default())
        });
        (stage, spec)
    };
    let attempts = |notice: &Notice| match notice {
        Notice::StartFailed { attempts, .. } => Some(*attempts),
        _ => None,
    };
    let (mut unset, spec) = stage(pace());
    unset.supervisor.put(spec);
    assert_eq!(unset.notice(attempts).await, START_ATTEMPTS);
    unset.supervisor.shutdown().await;
    let once = Pace {
        backoff: Duration::from_secs(3600),
        ..pace()
    };
    let (asked, spec) = stage(once);
    asked.supervisor.put(spec);
    assert_eq!(asked.probed().await.status, Health::Unavailable);
    asked.supervisor.shutdown().await;
    // The control: one that cannot be read is told of at once.
    let (mut odd, spec) = stage(pace());
    std::fs::create_dir(odd.root.join("secret")).expect("a folder");
    odd.supervisor.put(spec);
    assert_eq!(odd.notice(attempts).await, 1);
    odd.supervisor.shutdown().await;
}

/// Why the first start of a worker that breaks `rule` fails.
async fn refused(rule: &str, pace: Pace) -> (StartError, DispatchError) {
    let mut stage = Stage::rude(rule, pace);
    let (supervisor, code) = (stage.supervisor.clone(), stage.code(Role::Reader).await);
    let read = tokio::spawn(async move { supervisor.read(&code, call("echo", json!({}))).await });
    let failed = async {
        loop {
            if let Some(Notice::StartFailed { why, .. }) = stage.notices.recv().await {
                return why;
            }
        }
    };
    let why = tokio::time::timeout(PATIENCE, failed)
        .await
        .expect("a notice");
    let error = read.await.expect("a task").expect_err("no worker");
    stage.supervisor.shutdown().await;
    (why, error)
}

#[tokio::test]
async fn a_worker_that_keeps_the_rules_is_the_control() {
    let stage = Stage::rude("none", pace());
    assert_eq!(output(stage.read("echo", json!({})).await), json!("fine"));
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn an_unsound_cage_is_refused_and_its_report_told() {
    let (why, error) = refused("cage", pace()).await;
    let StartError::Unsound(report) = why else {
        panic!("{why}")
    };
    assert_eq!(report.failures().count(), 2);
    assert_eq!(cannot(&error).map(|e| e.0), Some(Unavailable::CannotStart));
}

#[tokio::test]
async fn another_build_another_manifest_silence_and_an_early_end_are_refused() {
    let (why, _) = refused("build", pace()).await;
    assert!(matches!(why, StartError::Build { .. }), "{why}");
    let (why, _) = refused("manifest", pace()).await;
    assert!(matches!(why, StartError::Manifest), "{why}");
    let (why, _) = refused("hello", pace()).await;
    assert!(matches!(why, StartError::Ended { .. }), "{why}");
    let hasty = Pace {
        hello_within: Duration::from_millis(300),
        ..pace()
    };
    let (why, _) = refused("silence", hasty).await;
    assert!(matches!(why, StartError::Late("Hello")), "{why}");
}

#[tokio::test]
async fn a_launcher_that_refuses_is_quoted() {
    let mut stage = Stage::new();
    let mut spec = stage.spec("tame", json!({}), 2);
    let offer = plexus_ipc::offer::Offer {
        profile: "(version 1)(deny default)(allow nonsense)".into(),
        ..(*spec.offer).clone()
    };
    Arc::get_mut(&mut spec).expect("the only one").offer = offer.into();
    stage.supervisor.put(spec);
    let mut request = call("echo", json!({}));
    request.revision = 2;
    let error = stage.asked(request).await.expect_err("no cage");
    let (_, message) = cannot(&error).expect("a reason");
    assert!(
        message.contains("profile refused") && message.contains("65"),
        "{message}"
    );
    stage
        .notice(|n| matches!(n, Notice::StartFailed { .. }).then_some(()))
        .await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn an_answer_to_no_call_of_another_kind_of_no_form_or_beyond_the_limit_ends_the_worker() {
    for rule in ["id", "kind", "json", "size"] {
        let mut stage = Stage::rude(rule, pace());
        // The read is tried again, and each try ends a worker.
        let error = stage.read("echo", json!({})).await.expect_err(rule);
        assert_eq!(error, DispatchError::Died { dispatched: true }, "{rule}");
        let cause = stage.ended().await;
        assert!(matches!(cause, Cause::Broke(_)), "{rule}: {cause}");
        stage.supervisor.shutdown().await;
    }
}

#[tokio::test]
async fn a_wrong_nonce_ends_the_worker() {
    let quick = Pace {
        probe_every: Duration::from_millis(20),
        ..pace()
    };
    let mut stage = Stage::rude("nonce", quick);
    assert_eq!(output(stage.read("echo", json!({})).await), json!("fine"));
    let cause = stage.ended().await;
    assert!(matches!(cause, Cause::Broke(_)), "{cause}");
    stage.supervisor.shutdown().await;
}
