//! A disk that fails on command and forgets what was not flushed.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use plexus_ledger::Opener;
use redb::{Builder, StorageBackend};

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

pub(crate) enum Fault {
    /// The act with this number fails; the ones after it do not.
    Once(u64),
    /// From this act on, all fail.
    Dead(u64),
    /// Writes fail for want of space while this says so.
    Full(Box<dyn Fn() -> bool + Send>),
}

impl Disk {
    pub(crate) fn opener(&self) -> Opener {
        let disk = self.clone();
        Arc::new(move |_: &Path| Builder::new().create_with_backend(disk.clone()))
    }

    pub(crate) fn acts(&self) -> u64 {
        self.lock().acts
    }

    pub(crate) fn set(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Has `look` called while each flush is waited for.
    pub(crate) fn before_flush(&self, look: impl FnMut() + Send + 'static) {
        self.lock().before_flush = Some(Box::new(look));
    }

    /// The disk after a power cut: of the loose writes those that `survives` says, in the order they were made, and
    /// of those cut in two by `tears` the first half.
    pub(crate) fn after_power_cut(
        &self,
        mut survives: impl FnMut() -> bool,
        mut tears: impl FnMut() -> bool,
    ) -> Self {
        let inner = self.lock();
        let mut bytes = inner.flushed.clone();
        for write in &inner.loose {
            if !survives() {
                continue;
            }
            match write {
                Write::Length(len) => bytes.resize(usize::try_from(*len).expect("small"), 0),
                Write::Bytes(offset, data) => {
                    let data = if tears() {
                        &data[..data.len() / 2]
                    } else {
                        data
                    };
                    put(&mut bytes, *offset, data);
                }
            }
        }
        // A file does not end before what was flushed.
        bytes.resize(bytes.len().max(inner.flushed.len()), 0);
        let disk = Inner {
            seen: bytes.clone(),
            flushed: bytes,
            ..Inner::default()
        };
        Self(Arc::new(Mutex::new(disk)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics here")
    }
}

impl Inner {
    fn act(&mut self, is_write: bool) -> io::Result<()> {
        self.acts += 1;
        match &self.fault {
            Some(Fault::Once(at)) if self.acts == *at => Err(io::Error::other("injected")),
            Some(Fault::Dead(at)) if self.acts >= *at => Err(io::Error::other("dead")),
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
        let inner = self.lock();
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
        inner.act(false)?;
        inner.flushed = inner.seen.clone();
        inner.loose.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        inner.act(true)?;
        put(&mut inner.seen, offset, data);
        inner.loose.push(Write::Bytes(offset, data.to_vec()));
        Ok(())
    }
}
