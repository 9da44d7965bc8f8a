//! Programs that a worker has its keeper start.
//!
//! ```text
//! Children::start ─Ask─▶ keeper ─Tell::Started, pipes─▶ Child ─wait─▶ Tell::Ended
//! ```
//!
//! Invariants: what is not awaited any more is ended: a [`Child`] that is dropped takes its program and all that descends
//! from it along; an error of the socket ends every wait.
//!
//! Must not know: what the programs are for; how a keeper starts them.

mod last_words;

use super::os;
pub use last_words::LastWords;
pub use plexus_sandbox::children::{ANSWERS, CALLS, Ending, KEEP_FREE, PIPES, Usage};
use plexus_sandbox::children::{Ask, Tell, decode, encode};
use plexus_sandbox::packets::{self, Inbox};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{io::unix::AsyncFd, net::unix::pipe, sync::oneshot};

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The keeper refused; says why.
    #[error("the keeper refuses: {0}")]
    Refused(String),
    /// The keeper is gone, or its messages are none.
    #[error("no answer of the keeper: {0}")]
    Keeper(#[from] io::Error),
}

/// What a worker may have started: the manifest's `children`.
#[derive(Clone, Debug)]
pub struct Children(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    /// By run; `None` once the socket is of no more use.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    started: Option<oneshot::Sender<Result<Vec<OwnedFd>, String>>>,
    ended: oneshot::Sender<(Ending, Usage)>,
}

/// A program that was started. Ended, with all that descends from it, when this is dropped.
#[derive(Debug)]
pub struct Child {
    id: u64,
    /// Its input; dropping it ends that.
    pub stdin: Option<pipe::Sender>,
    /// Its output.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error; the launcher's own words come here too.
    pub stderr: Option<pipe::Receiver>,
    /// What its run says to the worker, and hears from it; where the manifest has it so.
    pub host: Option<(pipe::Receiver, pipe::Sender)>,
    ended: oneshot::Receiver<(Ending, Usage)>,
    /// How it ended, once that was told.
    over: Option<(Ending, Usage)>,
    shared: Arc<Shared>,
}

impl Children {
    /// The keeper of this process; once in its life, in a runtime.
    pub(super) fn inherited() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: os::watch(os::take_keeper()?)?,
            next: AtomicU64::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let listening = Arc::downgrade(&shared);
        let heard = Arc::clone(&shared);
        tokio::spawn(async move {
            let Err(error) = heard.listen().await;
            tracing::error!(%error, "the keeper is not heard any more");
            // All that wait hear of it by this.
            if let Some(shared) = listening.upgrade() {
                *shared.waiting() = None;
            }
        });
        Ok(Self(shared))
    }

    /// Starts the program that the manifest calls `child`, in the folder of `run`: small letters, digits and hyphens. It has
    /// `arguments` for all of its named ones, and `environment` for any of the names that the manifest leaves open.
    ///
    /// The run's folder lies in the worker's own folder, under `runs`; the program works in `root` below it and may write
    /// there and in `scratch`. It stays when the run has ended, unless the manifest has it discarded.
    ///
    /// # Errors
    /// [`ChildError`]. A launcher that refuses after that says so on the child's standard error.
    pub async fn start(
        &self,
        child: &str,
        run: &str,
        arguments: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Result<Child, ChildError> {
        self.start_in(child, (run, None), arguments, environment)
            .await
    }

    /// The same in a folder below `root`, which is there, and to which no link leads; without one in `root` itself.
    ///
    /// # Errors
    /// As [`Children::start`].
    pub async fn start_in(
        &self,
        child: &str,
        (run, folder): (&str, Option<&str>),
        arguments: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Result<Child, ChildError> {
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let ask = Ask::Start {
            id,
            child: child.to_owned(),
            run: run.to_owned(),
            folder: folder.map(str::to_owned),
            arguments: owned(arguments),
            environment: owned(environment),
        };
        let (started, answer) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let waits = Waiting {
            started: Some(started),
            ended,
        };
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        match self.0.waiting().as_mut() {
            Some(waiting) => _ = waiting.insert(id, waits),
            None => return Err(gone().into()),
        }
        // From here on it is ended should nobody wait for the answer any more.
        let mut run = Child {
            id,
            stdin: None,
            stdout: None,
            stderr: None,
            host: None,
            ended: end,
            over: None,
            shared: Arc::clone(&self.0),
        };
        self.0.ask(&ask).await?;
        let pipes = answer.await.map_err(|_| gone())?;
        let pipes = pipes.map_err(ChildError::Refused)?;
        let mut pipes = pipes.into_iter();
        let mut next = || {
            pipes
                .next()
                .ok_or_else(|| io::Error::other("a pipe is missing"))
        };
        let (input, output, error) = (next()?, next()?, next()?);
        if let (Ok(calls), Ok(answers)) = (next(), next()) {
            let calls = pipe::Receiver::from_owned_fd(calls)?;
            run.host = Some((calls, pipe::Sender::from_owned_fd(answers)?));
        }
        run.stdin = Some(pipe::Sender::from_owned_fd(input)?);
        run.stdout = Some(pipe::Receiver::from_owned_fd(output)?);
        run.stderr = Some(pipe::Receiver::from_owned_fd(error)?);
        Ok(run)
    }
}

impl Child {
    /// Waits until it and all that descended from it have ended; once it has, each wait is over at once.
    ///
    /// # Errors
    /// The keeper is gone; it takes its programs along.
    pub async fn wait(&mut self) -> io::Result<(Ending, Usage)> {
        if let Some(over) = &self.over {
            return Ok(*over);
        }
        if self.ended.is_terminated() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let ended = (&mut self.ended).await;
        let ended = ended.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(*self.over.insert(ended))
    }

    /// Interrupts the program, as a person would who wants it to stop what it does.
    pub fn interrupt(&self) {
        self.shared.ask_now(&Ask::Interrupt { id: self.id });
    }

    /// Ends it and all that descends from it; [`Child::wait`] says when that has come.
    pub fn end(&self) {
        self.shared.ask_now(&Ask::End { id: self.id });
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A keeper ignores what it is asked of a run that has ended.
        self.end();
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ask: &Ask) -> io::Result<()> {
        let bytes = encode(ask).map_err(io::Error::other)?;
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| packets::send(socket.as_fd(), &bytes, &[])) {
                return sent;
            }
        }
    }

    /// A short message, which finds room unless the keeper hangs; then it is the gateway that ends both.
    fn ask_now(&self, ask: &Ask) {
        let sent = encode(ask)
            .map_err(io::Error::other)
            .and_then(|bytes| packets::send(self.socket.get_ref().as_fd(), &bytes, &[]));
        if let Err(error) = sent {
            tracing::debug!(%error, "the keeper was not asked");
        }
    }

    async fn listen(&self) -> io::Result<std::convert::Infallible> {
        let mut inbox = Inbox::default();
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(received) = ready.try_io(|socket| inbox.receive(socket.as_fd())) else {
                continue;
            };
            let (heard, pipes) = received?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let tell: Tell = decode(&heard).map_err(io::Error::other)?;
            self.tell(tell, pipes);
        }
    }

    fn tell(&self, tell: Tell, pipes: Vec<OwnedFd>) {
        let mut waiting = self.waiting();
        let Some(waiting) = waiting.as_mut() else {
            return;
        };
        // A caller that waits no more has asked for the end of it.
        match tell {
            Tell::Started { id } => {
                let waits = waiting.get_mut(&id).and_then(|waits| waits.started.take());
                waits.map(|waits| waits.send(Ok(pipes)));
            }
            Tell::Refused { id, why } => {
                let waits = waiting.remove(&id).and_then(|waits| waits.started);
                waits.map(|waits| waits.send(Err(why)));
            }
            Tell::Ended { id, ending, usage } => {
                let waits = waiting.remove(&id);
                waits.map(|waits| waits.ended.send((ending, usage)));
            }
        }
    }
}
