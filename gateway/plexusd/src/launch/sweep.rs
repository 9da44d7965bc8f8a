//! What goes on beside requests: every 30 s, what time has ended is swept up.
use plexus_calls::approvals::{planner, run};
use plexus_edge::edge::Edge;
use plexus_home::tasks::begin_blocking;
use plexus_sources::let_go;
use plexus_trust::Command;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// How often what time has ended is swept up.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Sweeps from one note of the time to the next: ten minutes, because each is a flush to the disk.
const MARK_EVERY: u32 = 20;

pub(crate) async fn sweep(app: Arc<Edge>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    let mut rounds: u32 = 0;
    let told = Arc::new(let_go::ReportedOnce::default());
    let mut tidying: Option<JoinHandle<()>> = None;
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        app.save_held().await;
        app.save_given_back().await;
        rounds += 1;
        if rounds.is_multiple_of(MARK_EVERY) {
            leave_mark(&app);
        }
        plexus_calls::denial::note_unrecorded(&app, false).await;
        plexus_edge::authenticate::note_unrecorded(&app).await;
        app.limits.tidy(app.clock.now());
        let before = app.ledger.snapshot();
        if let Err(error) = app.unasked(Command::Sweep).await {
            tracing::warn!(name: "daemon.sweep_failed", %error, "sweeping failed");
        }
        plexus_calls::activation::follow_lendings(&app, &before).await;
        // Approved runs that could not be begun when it was their time: for a pause, or for a ledger that took nothing.
        run::resume(&app.kernel);
        planner::resume(&app.kernel);
        if tidying.as_ref().is_some_and(|t| !t.is_finished()) {
            continue;
        }
        if let Some(last) = tidying.take()
            && let Err(error) = last.await
        {
            tracing::warn!(name: "daemon.sweep_failed", %error, "tidying failed");
        }
        // Not waited for, and by one thread of the pool: a removal takes as long as there is much, and an idle gateway
        // wakes no more threads than it must.
        let (app, told) = (app.clone(), told.clone());
        let begun = begin_blocking(move || {
            app.approvals.tidy(|| app.ledger.snapshot());
            app.answers.tidy(|| app.ledger.snapshot());
            plexus_calls::used::note(&app);
            let_go::remove(app.state_dir.path(), &told);
        });
        tidying = begun
            .inspect_err(|error| {
                tracing::warn!(name: "daemon.sweep_failed", %error, "tidying could not begin");
            })
            .ok();
    }
}
/// Leaves the time for the next launch, so that a clock set back meanwhile lengthens nothing.
pub(super) fn leave_mark(app: &Edge) {
    if let Err(error) = app.clock.leave_mark(app.state_dir.path()) {
        tracing::warn!(name: "clock.unmarked", %error, "the time could not be noted");
    }
}
