//! `plexusctl upgrade`: the running gateway gives way to the program that lies in its place now. With `--from` that is put
//! there first, and with `--back` the version before.
//!
//! ```text
//! release checked and in place, if one is named
//!  └▶ look ──refused, or nothing to do──▶ say so
//!  └──calls under way──▶ wait, or cancel them ──still some──▶ refuse
//!       └──none──▶ ask ──agreed──▶ wait for the next launch to answer ──▶ it is the new build, or the old one again, or nobody
//!                                                                         └──▶ restart the notification service
//! ```
//! Must not know: how the gateway does it.

use crate::{
    calls,
    owner::{Desk, Owner, UNREADABLE},
    programs,
    release::{self, Origin, Placed},
    service,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    calls::{List, Stop as StopCall},
    status::{Build, ChangeOver, Show, Status},
    upgrade::{BeginChange, PlannedChange},
};
use semver::Version;
use serde::Serialize;
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the gateway may take to look at the new program.
const LOOK: Duration = Duration::from_secs(30);
/// How long it may be until the next launch answers: calls that run, effects and their records, a start that has much to
/// check.
const CHANGE: Duration = Duration::from_secs(120);
/// How long a gateway that is not there may be away, as one is that a service manager starts again.
const AWAY: Duration = Duration::from_secs(15);
/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// Changing over.
#[derive(Args)]
pub(crate) struct Upgrade {
    /// Only check whether the restart is possible
    #[arg(long)]
    check: bool,
    /// Seconds to wait for running calls
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = |typed: &str| span::seconds(typed, 0..=u64::MAX))]
    wait: u64,
    /// Cancel running calls instead of waiting for them
    #[arg(long, conflicts_with = "check")]
    now: bool,
    /// First install this release, signed with the key of this install: a tarball, or the folder of a release
    #[arg(long, value_name = "FILE|URL", conflicts_with = "check")]
    from: Option<Origin>,
    /// Let --from install an older version
    #[arg(long, requires = "from")]
    downgrade: bool,
    /// First return to the version that the last --from replaced
    #[arg(long, conflicts_with_all = ["check", "from"])]
    back: bool,
}

/// A change that was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FinishedChange {
    /// With the launch that came of it.
    #[serde(flatten)]
    agreed: PlannedChange,
    pid: u32,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    notifications: Option<ServiceRestart>,
}

/// What became of the notification service.
#[derive(Serialize)]
struct ServiceRestart {
    restarted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, upgrade: Upgrade) -> Result<Exit, Stop> {
    if let Some(app) = programs::app()?.filter(|_| upgrade.from.is_some() || upgrade.back) {
        return Err(whole(&app));
    }
    let prefix = programs::prefix()?;
    let (release, may_be_older) = match &upgrade.from {
        Some(from) => {
            if upgrade.downgrade {
                desk.widen("installing an older version")?;
            }
            (from.release(&prefix)?, upgrade.downgrade)
        }
        None if upgrade.back => {
            desk.widen("installing an older version")?;
            (release::kept(&prefix)?, true)
        }
        None => return change_over(desk, upgrade).await,
    };
    let placed = release::place(&release, &prefix, may_be_older)?;
    let Ok(mut owner) = desk.open().await else {
        return desk.show(&placed, || {
            format!(
                "{}\nno gateway runs; the next one that is started is this version",
                placed.said()
            )
        });
    };
    let running = owner.call_within(&Show {}, LOOK).await?;
    if is_older(&placed.version, version_of(&running.build)) {
        return restart(desk, &placed, &running);
    }
    out::say(&placed.said());
    let changed = change_over(desk, upgrade).await;
    changed.map_err(|mut stop| {
        stop.why.push_str(
            "; the new version is installed, and the one before is kept (upgrade --back)",
        );
        stop
    })
}

/// An application is signed over all of its files, so none of them is replaced alone.
fn whole(app: &Path) -> Stop {
    let why = format!(
        "{} is replaced as a whole, by install.sh of the other release",
        app.display()
    );
    Stop::new(Exit::Refused, "upgrade_refused", why)
        .next("sh install.sh (of the other release), then: plexusctl upgrade")
}

/// The version that a build's name begins with.
fn version_of(build: &str) -> &str {
    build.split_once('+').map_or(build, |(version, _)| version)
}

/// Whether one version is before another; not where one of them is none.
fn is_older(version: &str, than: &str) -> bool {
    let parse = Version::parse;
    parse(version).is_ok_and(|version| parse(than).is_ok_and(|than| version < than))
}

/// No gateway gives way to an older version while it runs, which may not know all that was written. A start decides.
fn restart(desk: &Desk, placed: &Placed, running: &Status) -> Result<Exit, Stop> {
    let next = match service::restart_gateway()? {
        true => "the service was restarted".to_owned(),
        false => format!(
            "the gateway that runs is still {}: end it (Ctrl-C in its terminal, or kill {}) and start it again",
            text::line(&running.build),
            running.pid
        ),
    };
    desk.show(placed, || format!("{}\n{next}", placed.said()))
}

/// Has the gateway that runs change over to the program that lies in its place.
async fn change_over(desk: &Desk, upgrade: Upgrade) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let looked = owner.call_within(&BeginChange { check: true }, LOOK).await;
    let looked = looked.map_err(older);
    if !upgrade.check && looked.as_ref().is_ok_and(|looked| !looked.same) {
        let wait = Duration::from_secs(upgrade.wait);
        calls_end(&mut owner, wait, upgrade.now).await?;
    }
    // What is refused is refused again, on record.
    let begin = BeginChange { check: false };
    let agreed = match upgrade.check {
        true => looked?,
        false => owner.call_within(&begin, LOOK).await.map_err(older)?,
    };
    let names = names(&agreed.from, &agreed.to);
    if upgrade.check {
        return desk.show(&agreed, || match agreed.same {
            true => "the gateway runs this very program already".to_owned(),
            false => format!("it would be changed over {names}; type: plexusctl upgrade"),
        });
    }
    if !agreed.changed {
        return desk.show(&agreed, || {
            "nothing to do: the gateway runs the program that is installed".to_owned()
        });
    }
    let began = Instant::now();
    let now = next_launch(desk, agreed.launch).await?;
    if let Some(ChangeOver::Failed { why, .. }) = &now.upgrade {
        let why = format!(
            "the new program could not be started, and the old one keeps running: {}",
            text::line(why)
        );
        return Err(Stop::new(Exit::Failed, "upgrade_failed", why)
            .next("install all programs together again, then: plexusctl upgrade"));
    }
    let notifications = notifications(service::restart_notifications());
    let mut said = format!("changed over {names}");
    if let Some((_, more)) = &notifications {
        said.push_str(&format!("\n{more}"));
    }
    let done = FinishedChange {
        agreed: PlannedChange {
            launch: now.launch,
            ..agreed
        },
        pid: now.pid,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        notifications: notifications.map(|(restarted, _)| restarted),
    };
    desk.show(&done, || said)
}

/// The fate of the notification service, for both forms of the answer; none where none runs. A failure fails no
/// upgrade: the gateway is the new one.
fn notifications(restarted: Result<bool, Stop>) -> Option<(ServiceRestart, String)> {
    let why = match restarted {
        Ok(false) => return None,
        Ok(true) => None,
        Err(stop) => Some(stop.why),
    };
    let said = match &why {
        None => "the notification service was restarted".to_owned(),
        Some(why) => format!(
            "the notification service was not restarted and may run the old program: {}",
            text::line(why)
        ),
    };
    let restarted = why.is_none();
    Some((ServiceRestart { restarted, why }, said))
}

/// Waits for the end of the calls that are under way now, or cancels them; later ones are the change's own to wait for.
async fn calls_end(owner: &mut Owner, wait: Duration, now: bool) -> Result<(), Stop> {
    let reply = match owner.call(&List {}).await {
        // It is of before there was a list.
        Err(stop) if stop.code == "unknown_capability" => return Ok(()),
        reply => reply?,
    };
    let mut left: Vec<String> = reply.calls.iter().map(|call| call.id.clone()).collect();
    if left.is_empty() {
        return Ok(());
    }
    out::say(match now {
        true => "cancelling the calls that are under way:",
        false => "waiting for the calls that are under way:",
    });
    out::say(&calls::as_text(&reply));
    if now {
        for id in &left {
            match owner.call(&StopCall { id: id.clone() }).await {
                Err(stop) if stop.code != "not_found" => return Err(stop),
                // It has ended by itself.
                Ok(_) | Err(_) => {}
            }
        }
    }
    let until = Instant::now() + wait;
    loop {
        let running = owner.call(&List {}).await?.calls;
        left.retain(|id| running.iter().any(|call| call.id == *id));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            let why = format!("{} of the calls that were under way still run", left.len());
            return Err(Stop::new(Exit::Failed, "busy", why).next(match now {
                true => "wait for them: plexusctl calls list",
                false => "plexusctl upgrade --now cancels them; --wait SECONDS waits longer",
            }));
        }
        sleep(AGAIN).await;
    }
}

/// Both builds of a change.
pub(crate) fn names(from: &Build, to: &Build) -> String {
    text::line(&format!("from {} to {}", from.build, to.build))
}

/// A gateway that has no such route is of before there was one.
fn older(stop: Stop) -> Stop {
    if stop.code != "unknown_capability" {
        return stop;
    }
    let why = "the gateway that runs is of a version that cannot be changed over while it runs; one that you started yourself is yours to stop and start";
    Stop::new(Exit::Failed, "upgrade_refused", why).next("plexusctl service restart")
}

/// What the first launch after `before` says of itself.
async fn next_launch(desk: &Desk, before: u64) -> Result<Status, Stop> {
    let until = Instant::now() + CHANGE;
    let mut away = None;
    loop {
        let asked = async {
            let mut owner = desk.open().await?;
            owner.call_within(&Show {}, CHANGE).await
        };
        match asked.await {
            Ok(status) if status.launch > before => return Ok(status),
            Ok(_) => away = None,
            // It answers, and is of another build than this command.
            Err(stop) if stop.code == UNREADABLE => return Err(stop),
            Err(_) => {
                away.get_or_insert_with(Instant::now);
            }
        }
        let gone = away.is_some_and(|since: Instant| since.elapsed() >= AWAY);
        if gone || Instant::now() >= until {
            let why = "the gateway gave way to the new program, and that does not answer; its log says why, and plexusctl service start starts it";
            return Err(Stop::new(Exit::Unreachable, "unreachable", why).next("plexusctl logs"));
        }
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_restart_of_notifications_is_reported() {
        assert!(notifications(Ok(false)).is_none());
        let (word, said) = notifications(Ok(true)).expect("a line");
        assert_eq!(said, "the notification service was restarted");
        let json = |word: &ServiceRestart| serde_json::to_string(word).expect("JSON");
        assert_eq!(json(&word), r#"{"restarted":true}"#);
        let stop = Stop::new(Exit::Failed, "service_manager", "no\u{1b} bus");
        let (word, said) = notifications(Err(stop)).expect("a line");
        assert!(said.ends_with("the old program: no\\u{1b} bus"), "{said}");
        assert!(json(&word).starts_with(r#"{"restarted":false,"why":"#));
    }
}
