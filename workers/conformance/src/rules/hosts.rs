//! Reads while their host cannot be reached.

use super::{Bench, less, shown};
use crate::{
    breach::Breach,
    served::{Worker, output},
};
use plexus_ipc::{
    message::{Failure, Role},
    worker::Source,
};
use std::fmt;
use tokio::net::TcpListener;

/// How long a read may wait for a host that never answers, in milliseconds.
const WITHIN: u64 = 300;

/// How a host is missed.
#[derive(Clone, Copy, Debug)]
enum Missed {
    Refuses,
    Closes,
    NeverAnswers,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuses => "refuses connections",
            Self::Closes => "closes connections",
            Self::NeverAnswers => "never answers",
        })
    }
}

impl Missed {
    /// Its port, and what has to live as long as it.
    async fn host(self) -> (u16, Option<TcpListener>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        match self {
            Self::Refuses => (port, None),
            Self::NeverAnswers => (port, Some(listener)),
            Self::Closes => {
                tokio::spawn(async move { while listener.accept().await.is_ok() {} });
                (port, None)
            }
        }
    }
}

pub(super) async fn are_missed<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Some((_, credential)) = &on.subject.egress else {
        return breaches;
    };
    let mut worker = on.serve::<S>(Role::Reader).await;
    let mut whole = Vec::new();
    for (entry, example) in on.subject.examples_of(on.manifest, true) {
        let outcome = worker.read(&entry.name, example.input.clone()).await;
        if outcome.0.is_ok() {
            whole.push((entry, example, output(&outcome)));
        }
    }
    for missed in [Missed::Refuses, Missed::Closes, Missed::NeverAnswers] {
        let (port, _listener) = missed.host().await;
        let setting = on.setting(Some((port, credential.clone())));
        // A source that needs its host to be opened says so.
        let opened = Worker::try_set_up::<S>(on.subject.manifest, &setting, Role::Reader).await;
        let Ok(mut worker) = opened else { continue };
        for (entry, example, whole) in &whole {
            let outcome = worker
                .read_within(&entry.name, &example.input, WITHIN)
                .await;
            let is_told = |code: &Failure| *code != Failure::Internal;
            let Some(what) = less(&outcome, whole, is_told) else {
                continue;
            };
            let input = shown(&example.input);
            breaches.push(on.breach(
                &entry.name,
                format!("{input} is {what} while its host {missed}"),
            ));
        }
    }
    breaches
}
