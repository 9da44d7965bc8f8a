//! The end of what a program writes to one of its streams, for words about its own end.

use std::sync::{Mutex, PoisonError};
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

/// How much is held, in bytes, and how many lines of it are told.
const HELD: usize = 4096;
const LINES: usize = 20;

/// The end of one stream of a program.
#[derive(Debug, Default)]
pub struct LastWords(Mutex<Vec<u8>>);

impl LastWords {
    /// Reads its standard error to its end.
    pub async fn hear(&self, mut error: pipe::Receiver) {
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = error.read(&mut part).await {
            self.keep(&part[..read]);
        }
    }

    /// Keeps what was read elsewhere.
    pub fn keep(&self, words: &[u8]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend_from_slice(&words[words.len().saturating_sub(HELD)..]);
        let excess = held.len().saturating_sub(HELD);
        held.drain(..excess);
    }

    /// Its last lines so far, in their order; none that is empty.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&held);
        let lines = words.lines().rev().map(str::trim_end);
        let mut lines: Vec<_> = lines.filter(|line| !line.is_empty()).take(LINES).collect();
        lines.reverse();
        lines.into_iter().map(str::to_owned).collect()
    }
}
