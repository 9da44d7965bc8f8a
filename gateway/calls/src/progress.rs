//! What a call streams: its last mebibyte, with offsets, for its followers.
//!
//! ```text
//! worker ─piece, credit─▶ log ─▶ followers, from any offset that is still kept
//!    ▲                     └ credit is given back at once, or later: more than RATE pieces a second, a slow follower
//!    └─────────────────────────┘
//! ```
//! Invariants: pieces keep their order; a log holds at most 1 MiB; credit that is held back is given back as soon
//! as its reason is gone, after 5 s at most. Offsets count bytes since the beginning.
//!
//! Must not know: who may look.

use plexus_ipc::message::Chunk;
use plexus_protocol::{
    Digest,
    body::{Progress, ProgressChunk},
    streamed,
};
use plexus_supervisor::Credit;
use plexus_trust::Streamed;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Bytes of one call that are kept; the oldest go first.
const KEPT: u64 = 1024 * 1024;
/// Bytes that one look gives.
const LOOK: u64 = 256 * 1024;
/// Bytes by which a follower may be behind before the worker is slowed.
const BEHIND: u64 = 512 * 1024;
/// A follower that has not looked for so long is gone.
const FOLLOWED: Duration = Duration::from_secs(5);
/// Pieces of one call that are taken in a second.
const RATE: u32 = 1_000;
/// Text is joined to the piece before it up to this length, in bytes.
const JOINED: usize = 4_096;
/// From one look at held credit to the next.
const AGAIN: Duration = Duration::from_millis(20);

/// What one call has streamed.
#[derive(Default)]
pub struct ProgressLog {
    log: Mutex<Log>,
    /// Wakes those who wait for a piece.
    grown: Notify,
}

#[derive(Default)]
struct Log {
    pieces: VecDeque<Piece>,
    /// Of the first piece that is kept.
    from: u64,
    next: u64,
    digest: Sha256,
    follower: Option<Follower>,
    announced: bool,
    taken: u32,
    second: Option<Instant>,
    held: Vec<Credit>,
}

struct Follower {
    looked: Instant,
    /// What it has.
    upto: u64,
}

enum Piece {
    Text(String),
    Json(Box<RawValue>),
}

impl Piece {
    fn len(&self) -> u64 {
        let bytes = match self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json.get().len(),
        };
        bytes as u64
    }
}

impl Log {
    fn append(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Text(text) => {
                self.digest.update(text.as_bytes());
                self.next += text.len() as u64;
                match self.pieces.back_mut() {
                    Some(Piece::Text(last)) if last.len() + text.len() <= JOINED => {
                        last.push_str(&text);
                    }
                    _ => self.pieces.push_back(Piece::Text(text.as_str().to_owned())),
                }
            }
            Chunk::Json(json) => {
                self.digest.update(&*json);
                self.next += json.len() as u64;
                self.pieces.push_back(Piece::Json(json.into_json()));
            }
        }
        // An event takes some room beside its length, so their number is bounded too.
        while self.next - self.from > KEPT || self.pieces.len() as u64 > KEPT / 64 {
            let Some(oldest) = self.pieces.pop_front() else {
                return;
            };
            self.from += oldest.len();
        }
    }

    /// Whether the worker may go on.
    fn has_room(&mut self, now: Instant) -> bool {
        if self
            .second
            .is_none_or(|since| now - since >= Duration::from_secs(1))
        {
            self.second = Some(now);
            self.taken = 0;
        }
        let follower = self.follower.as_ref();
        let follower = follower.filter(|follower| now - follower.looked < FOLLOWED);
        self.taken < RATE && follower.is_none_or(|f| self.next.saturating_sub(f.upto) < BEHIND)
    }

    fn part(&self, after: u64) -> Progress {
        let from = after.clamp(self.from, self.next);
        let (mut at, mut next, mut chunks) = (self.from, from, Vec::new());
        for piece in &self.pieces {
            let end = at + piece.len();
            if end > from && next - from < LOOK {
                chunks.push(match piece {
                    Piece::Text(text) => {
                        let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(0);
                        ProgressChunk::Text(text[text.floor_char_boundary(skip)..].to_owned())
                    }
                    Piece::Json(json) => ProgressChunk::Json(json.clone()),
                });
                next = end;
            }
            at = end;
        }
        Progress { from, next, chunks }
    }
}

impl ProgressLog {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next piece. The offset after it, where nobody was told of a piece since the last look.
    pub(crate) fn push(self: &Arc<Self>, chunk: Chunk, credit: Credit) -> Option<u64> {
        let mut log = self.log();
        log.append(chunk);
        log.taken += 1;
        let end = log.next;
        let news = !std::mem::replace(&mut log.announced, true);
        if log.has_room(Instant::now()) {
            drop(log);
            drop(credit);
        } else {
            let first = log.held.is_empty();
            log.held.push(credit);
            drop(log);
            if first {
                tokio::spawn(give_back(self.clone()));
            }
        }
        self.grown.notify_waiters();
        news.then_some(end)
    }

    /// What there is after an offset, for a follower who goes on from what this gives.
    pub fn after(&self, after: u64) -> Progress {
        let mut log = self.log();
        let part = log.part(after);
        log.announced = part.next < log.next;
        log.follower = Some(Follower {
            looked: Instant::now(),
            upto: part.next,
        });
        part
    }

    /// The same for who only looks: it makes no follower, so it slows nothing and keeps no news from one.
    pub fn look(&self, after: u64) -> Progress {
        self.log().part(after)
    }

    /// What it said or did last, in a few words that may begin in the middle; none where it said nothing.
    pub fn last_words(&self) -> Option<String> {
        let log = self.log();
        log.pieces.iter().rev().find_map(|piece| match piece {
            Piece::Text(text) => {
                let mut lines = text.lines().rev().map(str::trim);
                lines.find(|line| !line.is_empty()).map(str::to_owned)
            }
            Piece::Json(json) => {
                let event = serde_json::from_str(json.get()).ok()?;
                streamed::words(&event)
            }
        })
    }

    /// Waits until there is something after an offset.
    pub async fn beyond(&self, after: u64) {
        loop {
            let grown = self.grown.notified();
            if self.end() > after {
                return;
            }
            grown.await;
        }
    }

    /// The offset after the last piece.
    pub fn end(&self) -> u64 {
        self.log().next
    }

    /// Bytes that are kept.
    pub(crate) fn kept(&self) -> usize {
        let log = self.log();
        usize::try_from(log.next - log.from).unwrap_or(usize::MAX)
    }

    /// Length and digest of everything that was streamed; none where nothing was.
    pub(crate) fn streamed(&self) -> Option<Streamed> {
        let log = self.log();
        (log.next > 0).then(|| Streamed {
            bytes: log.next,
            digest: Digest(log.digest.clone().finalize().into()),
        })
    }
}

/// Gives held credit back when there is room again. A follower that keeps looking and takes nothing slows the worker, and
/// does not stop it.
async fn give_back(progress: Arc<ProgressLog>) {
    let at_last = Instant::now() + FOLLOWED;
    loop {
        tokio::time::sleep(AGAIN).await;
        let mut log = progress.log();
        let now = Instant::now();
        if log.has_room(now) || now >= at_last {
            let held = std::mem::take(&mut log.held);
            drop(log);
            drop(held);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(texts: &[&str]) -> Log {
        let mut log = Log::default();
        for text in texts {
            log.append(Chunk::Text((*text).into()));
        }
        log
    }

    fn text(part: &Progress) -> String {
        let text = |shown: &ProgressChunk| match shown {
            ProgressChunk::Text(text) => text.clone(),
            ProgressChunk::Json(json) => json.get().to_owned(),
        };
        part.chunks.iter().map(text).collect()
    }

    #[test]
    fn any_offset_continues_the_stream() {
        let log = log(&["ab", "cdé", "f"]);
        for (after, expected) in [(0, "abcdéf"), (1, "bcdéf"), (4, "éf"), (6, "f"), (7, "")] {
            let part = log.part(after);
            assert_eq!((part.from, part.next), (after, 7), "after {after}");
            assert_eq!(text(&part), expected, "after {after}");
        }
        assert_eq!(log.part(99).next, 7, "beyond the end");
    }

    #[test]
    fn dropped_bytes_show_in_the_offset() {
        let piece = "x".repeat(16 * 1024);
        let pieces = vec![piece.as_str(); 65];
        let log = log(&pieces);
        let part = log.part(0);
        assert_eq!(part.from, 16 * 1024, "one piece more than is kept");
        assert_eq!(part.next - part.from, LOOK);
        let mut at = part.next;
        while at < log.next {
            at = log.part(at).next;
        }
        assert_eq!(at, 65 * 16 * 1024);
    }

    #[test]
    fn slow_follower_holds_credit_until_it_looks_or_goes() {
        let mut log = Log::default();
        let now = Instant::now();
        let piece = "x".repeat(16 * 1024);
        log.follower = Some(Follower {
            looked: now,
            upto: 0,
        });
        while log.next < BEHIND {
            assert!(log.has_room(now), "at {}", log.next);
            log.append(Chunk::Text(piece.as_str().into()));
        }
        assert!(!log.has_room(now));
        assert!(log.has_room(now + FOLLOWED), "it is gone");
        log.follower = Some(Follower {
            looked: now,
            upto: log.next,
        });
        assert!(log.has_room(now), "it has looked");
    }

    #[test]
    fn pieces_of_a_second_are_bounded() {
        let mut log = Log::default();
        let now = Instant::now();
        assert!(log.has_room(now));
        log.taken = RATE;
        assert!(!log.has_room(now));
        assert!(log.has_room(now + Duration::from_secs(1)));
    }
}
