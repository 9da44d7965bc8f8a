//! A disk that fails on command and forgets what was not flushed.
//!
//! It is as unkind as Linux and its file systems are allowed to be: a write that fails may have left its first half; a
//! flush that fails may have brought some of the writes to the disk, and the kernel forgets the others, which are seen by
//! readers and come to the disk with no later flush, unless they are written again.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use plexus_ledger::Opener;
use redb::StorageBackend;

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// What reads see.
    seen: Vec<u8>,
    /// What a power cut leaves for certain.
    flushed: Vec<u8>,
    /// Writes since the last flush.
    loose: Vec<Write>,
    /// Writes and flushes so far.
    acts: u64,
    reads: u64,
    fault: Option<Fault>,
    before_flush: Option<Box<dyn FnMut() + Send>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "disk of {} bytes after {} acts",
            self.seen.len(),
            self.acts
        )
    }
}

enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    /// Makes it to `bytes`, or its first half.
    fn to(&self, bytes: &mut Vec<u8>, torn: bool) {
        match self {
            Self::Length(len) => bytes.resize(usize::try_from(*len).expect("small"), 0),
            Self::Bytes(offset, data) => {
                let length = if torn { data.len() / 2 } else { data.len() };
                put(bytes, *offset, &data[..length]);
            }
        }
    }
}

pub(crate) enum Fault {
    /// The act with this number fails; the ones after it do not.
    Once(u64),
    /// From this act on, all fail.
    Dead(u64),
    /// Writes fail for want of space while this says so.
    Full(Box<dyn Fn() -> bool + Send>),
    /// The write or flush with this number fails for want of space.
    NoSpace(u64),
    /// The read with this number fails.
    Read(u64),
}

/// What a power cut leaves of the writes since the last flush.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// All of them were written back just before.
    Nothing,
    /// None of them.
    Everything,
    /// Some, and of some a half, as this start of a dice's rolls says.
    Some(u64),
}

/// What came of [`Disk::stalled`].
pub(crate) struct Stalled<A, B> {
    pub(crate) first: A,
    pub(crate) others: B,
    /// What the power cut left, if there was one.
    pub(crate) after: Option<Disk>,
    /// What is refused is written nowhere, so no flush is held for it.
    pub(crate) was_held: bool,
}

impl Disk {
    pub(crate) fn opener(&self) -> Opener {
        let disk = self.clone();
        Arc::new(move |path: &Path| {
            // Its file is there for who looks for it, and the content is elsewhere.
            let is_there = std::fs::write(path, "the content is in memory");
            is_there.expect("the folder takes a file");
            Ok(Arc::new(disk.clone()))
        })
    }

    pub(crate) fn acts(&self) -> u64 {
        self.lock().acts
    }

    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    pub(crate) fn set(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Has `look` called while each flush is waited for.
    pub(crate) fn before_flush(&self, look: impl FnMut() + Send + 'static) {
        self.lock().before_flush = Some(Box::new(look));
    }

    /// The disk as it would be if the power went now: of the loose writes those are left that `survives` says, in the order
    /// they were made, and of those cut in two by `tears` the first half. This one goes on.
    pub(crate) fn after_power_cut(
        &self,
        survives: impl FnMut() -> bool,
        tears: impl FnMut() -> bool,
    ) -> Self {
        self.lock().left(survives, tears)
    }

    /// The power goes, as one of the kinds. Nothing that is done to this disk from then on succeeds, not even what the
    /// daemon does by itself between two lines of a test.
    pub(crate) fn cut(&self, cut: Cut) -> Self {
        let mut inner = self.lock();
        inner.fault = Some(Fault::Dead(0));
        let mut dice = match cut {
            Cut::Nothing => return inner.left(|| true, || false),
            Cut::Everything => return inner.left(|| false, || false),
            Cut::Some(start) => start,
        };
        let mut rolls = Vec::new();
        for _ in 0..2 * inner.loose.len() {
            // Numerical Recipes' congruential generator; the upper bits are good enough for a dice.
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            rolls.push(dice >> 33);
        }
        let mut tears = rolls.split_off(rolls.len() / 2).into_iter();
        let mut survives = rolls.into_iter();
        inner.left(
            || survives.next().is_some_and(|roll| roll % 2 == 0),
            || tears.next().is_some_and(|roll| roll % 4 == 0),
        )
    }

    /// Has `first` asked for; while a flush is held before that is answered, has `others` asked for, and then the power
    /// cut, if it is to be.
    pub(crate) fn stalled<F: Future<Output: Send> + Send, B>(
        &self,
        first: impl FnOnce() -> F,
        others: impl FnOnce() -> B,
        cut: Option<Cut>,
    ) -> Stalled<F::Output, B> {
        let (say, heard) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let entered = say.clone();
        self.before_flush(move || {
            let _ = entered.send(true);
            // Until the other end is gone; at once from then on.
            let _ = held.recv();
        });
        // In the queue from here on, whatever else the writer flushes first.
        let first = first();
        std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let answer = { runtime }.build().expect("a runtime").block_on(first);
                let _ = say.send(false);
                answer
            });
            let was_held = heard.recv().expect("it is held, or answered");
            let cut = || cut.map(|cut| self.cut(cut));
            let (others, after) = if was_held {
                let others = others();
                (others, cut())
            } else {
                // Nothing holds the writer: it would answer while the power goes.
                let after = cut();
                (others(), after)
            };
            drop(go_on);
            Stalled {
                first: first.join().expect("an answer"),
                others,
                after,
                was_held,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics here")
    }
}

/// "Input/output error", here and on a Mac.
const EIO: i32 = 5;

impl Inner {
    fn left(&self, mut survives: impl FnMut() -> bool, mut tears: impl FnMut() -> bool) -> Disk {
        let mut bytes = self.flushed.clone();
        for write in &self.loose {
            if !survives() {
                continue;
            }
            write.to(&mut bytes, tears());
        }
        // A file does not end before what was flushed.
        bytes.resize(bytes.len().max(self.flushed.len()), 0);
        let disk = Self {
            seen: bytes.clone(),
            flushed: bytes,
            ..Self::default()
        };
        Disk(Arc::new(Mutex::new(disk)))
    }

    fn act(&mut self, is_write: bool) -> io::Result<()> {
        self.acts += 1;
        match &self.fault {
            Some(Fault::Once(at)) if self.acts == *at => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Dead(at)) if self.acts >= *at => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::NoSpace(at)) if self.acts == *at => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Full(is_full)) if is_write && is_full() => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let at = usize::try_from(offset).expect("small");
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.reads += 1;
        if matches!(inner.fault, Some(Fault::Read(at)) if inner.reads == at) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let at = usize::try_from(offset).expect("small");
        let bytes = inner
            .seen
            .get(at..at + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.act(true)?;
        inner.seen.resize(usize::try_from(len).expect("small"), 0);
        inner.loose.push(Write::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let look = self.lock().before_flush.take();
        if let Some(mut look) = look {
            look();
            self.lock().before_flush.get_or_insert(look);
        }
        let mut inner = self.lock();
        let failed = inner.act(false);
        let (acts, loose) = (inner.acts, std::mem::take(&mut inner.loose));
        for (n, write) in loose.iter().enumerate() {
            // Which ones a failed flush forgets is the disk's whim.
            if failed.is_ok() || (n as u64 + acts).is_multiple_of(2) {
                write.to(&mut inner.flushed, false);
            }
        }
        failed
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let done = inner.act(true);
        let data = if done.is_ok() {
            data
        } else {
            &data[..data.len() / 2]
        };
        put(&mut inner.seen, offset, data);
        inner.loose.push(Write::Bytes(offset, data.to_vec()));
        done
    }
}
