//! macOS: an item of the menu bar. AppKit has the main thread; the program runs on one of its own.

mod os;

use crate::{act::Act, failed, view::View};
use dispatch2::DispatchQueue;
use objc2_foundation::MainThreadMarker;
use plexus_client::{Exit, Home, Stop, out};
use std::process::exit;
use tokio::sync::mpsc::{self, Receiver};

/// How many choices may wait to be carried out; a person makes no more, and further ones are dropped.
const CHOICES: usize = 16;

/// The icon on the desktop.
pub(crate) struct Icon;

impl Icon {
    /// Shows this.
    pub(crate) async fn show(&self, view: &View) {
        let view = view.clone();
        DispatchQueue::main().exec_async(move || os::show(&view));
    }

    /// Why nothing can be shown any more: the menu bar ends with this process.
    pub(crate) async fn ended(&mut self) -> Stop {
        std::future::pending().await
    }
}

/// Runs `program` with an icon, and with what the person chooses; then ends the process, because AppKit's loop does not
/// give its thread back.
///
/// # Errors
/// The system has no thread for it.
pub(crate) fn run<F: Future<Output = Result<(), Stop>>>(
    _: &Home,
    program: impl FnOnce(Icon, Receiver<Act>) -> F + Send + 'static,
) -> Result<(), Stop> {
    let main = MainThreadMarker::new().ok_or_else(|| failed("this is not the main thread"))?;
    let (choose, chosen) = mpsc::channel(CHOICES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let work = move || {
        let ended = runtime.block_on(program(Icon, chosen));
        let status = match ended {
            Ok(()) => Exit::Ok,
            Err(stop) => {
                out::say(&stop.to_string());
                stop.exit
            }
        };
        exit(status.number().into())
    };
    std::thread::Builder::new().spawn(work).map_err(failed)?;
    os::serve(main, choose);
    Ok(())
}
