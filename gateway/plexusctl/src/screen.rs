//! A full screen on the owner's terminal, for commands that stay: what is drawn, what is typed, and the signals that end it.
//!
//! Invariant: the terminal is given back as it was, however the command ends.
//!
//! Must not know: what is shown.

pub(crate) mod lines;
mod terminal;

pub(crate) use terminal::{Screen, is_taken};

use crossterm::event::{self, Event};
use plexus_client::{Exit, Stop};
use std::{io::IsTerminal as _, pin::Pin, thread};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// The columns of the terminal that standard output is; none where it is none, or does not know them.
pub(crate) fn columns() -> Option<usize> {
    let size = std::io::stdout()
        .is_terminal()
        .then(crossterm::terminal::size)?;
    let columns = size.ok().map(|(columns, _)| usize::from(columns));
    columns.filter(|columns| *columns > 0)
}

/// Work beside the keys, where there is any.
pub(crate) type Pending<'d, T> = Option<Pin<Box<dyn Future<Output = T> + 'd>>>;

/// Something typed, with the moment in which it was read.
pub(crate) type Typed = (std::time::Instant, Event);

/// Waits for the end of work; for ever where there is none.
pub(crate) async fn polled<T>(future: &mut Pending<'_, T>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The stop for a terminal that fails.
pub(crate) fn system(error: std::io::Error) -> Stop {
    Stop::new(Exit::Failed, "terminal", format!("the terminal: {error}"))
}

/// What is typed, read on a thread of its own because a terminal cannot be waited for otherwise.
pub(crate) fn keys() -> mpsc::UnboundedReceiver<Typed> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send((std::time::Instant::now(), event)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The signals that end a command.
pub(crate) struct Ends([Signal; 3]);

impl Ends {
    /// Catches them from now on.
    pub(crate) fn catch() -> Result<Self, Stop> {
        let caught = |kind| signal(kind).map_err(system);
        Ok(Self([
            caught(SignalKind::terminate())?,
            caught(SignalKind::hangup())?,
            caught(SignalKind::interrupt())?,
        ]))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
