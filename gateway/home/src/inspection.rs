//! A look at a folder of the owner's, which may lie on a disk that does not answer: a network share that has gone.
//!
//! Invariants: a caller waits a bounded time, also for many folders at once; for one folder at most one look is
//! under way, so what hangs in the kernel holds one thread, however often it is asked for.
//!
//! Must not know: what is looked for, who asks.

use crate::tasks::blocking;
use std::{
    any::Any,
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

/// How long a disk may take. One that spins up goes on meanwhile, and answers the next caller.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who looks at which folder: of the whole process, because it is its threads that are kept.
static UNDER_WAY: Mutex<BTreeMap<PathBuf, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

tokio::task_local! {
    /// What the looks of this task hold as long as they last.
    static HELD: Arc<dyn Any + Send + Sync>;
}

/// Runs `work`, and keeps `held` until the last look that it began has ended, also one that it does not wait for any more:
/// an agent that has a share of looks has none left while a disk hangs.
pub async fn holding<T>(held: impl Any + Send + Sync, work: impl Future<Output = T>) -> T {
    HELD.scope(Arc::new(held), work).await
}

/// What `look` finds at `folder`.
///
/// # Errors
/// The folder's disk does not answer now.
pub async fn at<T: Send + 'static>(
    folder: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    within(PATIENCE, folder, look).await
}

/// What comes of each of `looks`, all of which are under way at once: together they take as long as the longest.
pub async fn at_once<K, T, L>(looks: impl Iterator<Item = (K, L)>) -> BTreeMap<K, T>
where
    K: Ord + Send + 'static,
    T: Send + 'static,
    L: Future<Output = T> + Send + 'static,
{
    let held = HELD.try_with(Arc::clone).ok();
    let named = looks.map(|(name, look)| {
        let held = held.clone();
        async move {
            let found = match held {
                Some(held) => HELD.scope(held, look).await,
                None => look.await,
            };
            (name, found)
        }
    });
    let found = named.collect::<JoinSet<_>>().join_all().await;
    found.into_iter().collect()
}

/// What `look` finds at `folder`, whose disk may take as long as `patience`.
///
/// # Errors
/// The folder's disk does not answer in that time.
pub async fn within<T: Send + 'static>(
    patience: Duration,
    folder: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = turn(folder);
    let held = HELD.try_with(Arc::clone).ok();
    let looked = async {
        let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
        let look = move || {
            let found = look();
            drop((turn, held));
            found
        };
        blocking(look).await
    };
    let silent = |_| {
        let why = format!(
            "its disk, or this machine under load, did not answer within {} s",
            patience.as_secs_f32()
        );
        io::Error::new(ErrorKind::TimedOut, why)
    };
    timeout(patience, looked).await.map_err(silent)?
}

fn turn(folder: &Path) -> Arc<Semaphore> {
    let mut all = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    // Those that nobody looks at now.
    all.retain(|_, turn| Arc::strong_count(turn) > 1);
    let turn = all.entry(folder.to_owned());
    turn.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_disk_that_hangs_holds_one_thread_and_nobody() {
        let (hung, well) = (Path::new("/hung"), Path::new("/well"));
        let (answers, disk) = mpsc::channel::<()>();
        let soon = Duration::from_millis(50);
        let first = within(soon, hung, move || disk.recv().is_ok()).await;
        assert_eq!(first.unwrap_err().kind(), ErrorKind::TimedOut);
        for _ in 0..3 {
            let again = within(soon, hung, || unreachable!("nobody looks beside the first")).await;
            let again: io::Result<()> = again;
            assert_eq!(again.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(at(well, || 7).await.unwrap(), 7, "the control");
        }
        answers.send(()).unwrap();
        let turn = turn(hung);
        drop(turn.acquire().await.unwrap());
        assert_eq!(at(hung, || 8).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn share_is_held_until_the_look_has_ended() {
        let share = Arc::new(());
        let (answers, disk) = mpsc::channel::<()>();
        let hung = Path::new("/hung-for-a-share");
        let soon = Duration::from_millis(50);
        let look = async {
            let looks = std::iter::once(((), async move {
                within(soon, hung, move || disk.recv().is_ok()).await
            }));
            at_once(looks).await
        };
        let found = holding(share.clone(), look).await;
        let unanswered = found[&()].as_ref().unwrap_err();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        assert_eq!(Arc::strong_count(&share), 2, "its thread has it");
        answers.send(()).unwrap();
        drop(turn(hung).acquire().await.unwrap());
        // The thread drops both, one after the other.
        while Arc::strong_count(&share) > 1 {
            tokio::task::yield_now().await;
        }
        holding(share.clone(), at(hung, || ())).await.unwrap();
        assert_eq!(Arc::strong_count(&share), 1, "the control");
    }

    /// A start waits for its sources, and a service manager for the start: 90 seconds.
    #[tokio::test(start_paused = true)]
    async fn many_that_hang_are_waited_for_as_long_as_one() {
        let folders: Vec<PathBuf> = (0..50).map(|n| format!("/share/{n}").into()).collect();
        let hung: Vec<_> = folders.iter().map(|folder| turn(folder)).collect();
        let hung = hung.iter().map(|turn| turn.try_acquire().unwrap());
        let _hung: Vec<_> = hung.collect();
        let looks = folders.iter().cloned().map(|folder| {
            let of = folder.clone();
            (folder, async move { at(&of, || ()).await })
        });
        let began = Instant::now();
        let found = at_once(looks).await;
        assert_eq!(found.len(), folders.len());
        assert!(found.values().all(Result::is_err));
        assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
    }
}
