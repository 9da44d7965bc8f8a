//! What a worker writes on stderr, as lines of the gateway's log.
//!
//! Two budgets, refilled with time: lines that are logged, and bytes that are read. Lines beyond the first are counted
//! and dropped; beyond the second the pipe is left full, so that a flood costs the worker and not the gateway.
//!
//! Invariants: a line is bounded and holds no control character; nothing here waits for the rest of the gateway.
//!
//! Must not know: what the lines mean.

use super::LOG_TARGET;
use plexus_ipc::text::Line;
use plexus_protocol::SourceId;
use std::{
    convert::Infallible,
    fmt::Display,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

/// Longest line that is logged, in bytes; the rest of it is dropped.
const LINE: usize = 512;
/// Lines that are logged at once, and each second.
const LINES: Budget = Budget {
    most: 50.0,
    per_second: 5.0,
};
/// Bytes that are read at once, and each second.
const BYTES: Budget = Budget {
    most: 1_048_576.0,
    per_second: 262_144.0,
};
/// How long what a dead worker wrote last may take to be read.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The task that reads one worker's stderr. When this goes, the task ends with the stream, or a moment later where
/// something else holds the stream open: what a worker says last says why it died.
#[derive(Debug)]
pub(super) struct Stderr {
    task: JoinHandle<()>,
    _gone: oneshot::Sender<Infallible>,
    last: Last,
}

type Last = Arc<Mutex<Option<Line<LINE>>>>;

impl Stderr {
    /// Waits a moment for its end: who has closed the other stream may still say why, and is not killed before.
    pub(super) async fn at_end(&mut self) {
        if !self.task.is_finished() {
            let _ = tokio::time::timeout(LAST_WORD, &mut self.task).await;
        }
    }

    /// What the worker said last; to be asked when it is dead.
    pub(super) async fn last_word(mut self) -> Option<Line<LINE>> {
        self.at_end().await;
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Follows `stderr` on a task of its own.
pub(crate) fn follow(
    stderr: impl AsyncRead + Unpin + Send + 'static,
    source: &SourceId,
    role: impl Display + Send + 'static,
    pid: u32,
) -> Stderr {
    let last = Last::default();
    let source = source.clone();
    let keep = Arc::clone(&last);
    let log = move |line: Line<LINE>, dropped: u64| {
        if dropped > 0 {
            tracing::warn!(name: "worker.lines_dropped", target: LOG_TARGET, %source, %role, pid, count = dropped, "lines of a worker were dropped");
        }
        tracing::info!(name: "worker.said", target: LOG_TARGET, %source, %role, pid, line = line.as_str(), "worker");
        *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    };
    let (gone, is_gone) = oneshot::channel();
    let task = tokio::spawn(read_until(is_gone, stderr, log));
    Stderr {
        task,
        _gone: gone,
        last,
    }
}

/// Reads to the end, and [`LAST_WORD`] beyond the moment when nobody wants the worker any more.
async fn read_until(
    gone: oneshot::Receiver<Infallible>,
    pipe: impl AsyncRead + Unpin,
    log: impl Fn(Line<LINE>, u64),
) {
    let mut reading = pin!(read(pipe, log));
    tokio::select! {
        () = &mut reading => return,
        _ = gone => {}
    }
    let _ = tokio::time::timeout(LAST_WORD, reading).await;
}

async fn read(mut pipe: impl AsyncRead + Unpin, log: impl Fn(Line<LINE>, u64)) {
    let mut bytes = Allowance::of(BYTES);
    let mut lines = Lines::new();
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        lines.take(&buffer[..count], Instant::now(), &log);
        while let Some(wait) = bytes.spend(count as f64, Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }
    lines.end(Instant::now(), &log);
}

/// Cuts bytes into lines and lets as many pass as the budget allows.
struct Lines {
    line: Vec<u8>,
    budget: Allowance,
    dropped: u64,
}

impl Lines {
    fn new() -> Self {
        Self {
            line: Vec::with_capacity(LINE),
            budget: Allowance::of(LINES),
            dropped: 0,
        }
    }

    fn take(&mut self, bytes: &[u8], now: Instant, log: &impl Fn(Line<LINE>, u64)) {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // What stands before the first line feed goes on with the line before it.
        self.extend(parts.next().unwrap_or_default());
        for part in parts {
            self.end(now, log);
            self.extend(part);
        }
    }

    fn extend(&mut self, part: &[u8]) {
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end(&mut self, now: Instant, log: &impl Fn(Line<LINE>, u64)) {
        if self.line.is_empty() {
            return;
        }
        if self.budget.spend(1.0, now).is_none() {
            let dropped = std::mem::take(&mut self.dropped);
            log(Line::new(String::from_utf8_lossy(&self.line)), dropped);
        } else {
            self.dropped += 1;
        }
        self.line.clear();
    }
}

/// So much at once, so much each second.
#[derive(Clone, Copy)]
struct Budget {
    most: f64,
    per_second: f64,
}

/// What is left of a budget.
struct Allowance {
    budget: Budget,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn of(budget: Budget) -> Self {
        Self {
            budget,
            left: budget.most,
            at: Instant::now(),
        }
    }

    /// Spends `cost`, or says how long it takes until there is enough; then nothing is spent.
    fn spend(&mut self, cost: f64, now: Instant) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.budget.per_second;
        self.left = (self.left + earned).min(self.budget.most);
        self.at = now;
        if self.left >= cost {
            self.left -= cost;
            return None;
        }
        Some(Duration::from_secs_f64(
            (cost - self.left) / self.budget.per_second,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::io::AsyncWriteExt as _;

    fn all(chunks: &[&[u8]]) -> Vec<String> {
        let seen = RefCell::new(Vec::new());
        let log = |line: Line<LINE>, _| seen.borrow_mut().push(line.to_string());
        let mut lines = Lines::new();
        for chunk in chunks {
            lines.take(chunk, Instant::now(), &log);
        }
        lines.end(Instant::now(), &log);
        seen.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_last_is_read_after_the_end() {
        let seen = RefCell::new(Vec::new());
        let log = |line: Line<LINE>, _| seen.borrow_mut().push(line.to_string());
        for held_open in [false, true] {
            let (mut worker, pipe) = tokio::io::duplex(64);
            let (gone, is_gone) = oneshot::channel();
            worker.write_all(b"last\n").await.unwrap();
            let held = held_open.then_some(worker);
            drop(gone);
            read_until(is_gone, pipe, log).await;
            assert_eq!(seen.take(), ["last"]);
            drop(held);
        }
    }

    #[test]
    fn lines_are_whole_wherever_the_reads_cut_them() {
        assert_eq!(all(&[b"one\ntw", b"o\n\nthree"]), ["one", "two", "three"]);
    }

    #[test]
    fn a_line_is_bounded_and_cannot_imitate_another() {
        let long = vec![b'x'; 10 * LINE];
        let seen = all(&[&long, b"more of it"]);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].len() <= LINE);
        assert_eq!(all(&[b"a\x1b[2Jb"]), ["a\u{fffd}[2Jb"]);
    }

    #[test]
    fn a_flood_is_counted_and_not_logged() {
        let seen = RefCell::new(Vec::new());
        let log = |_: Line<LINE>, dropped| seen.borrow_mut().push(dropped);
        let mut lines = Lines::new();
        let start = lines.budget.at;
        lines.take("flood\n".repeat(1_000).as_bytes(), start, &log);
        assert_eq!(seen.borrow().len(), 50);
        lines.take(b"after\n", start + Duration::from_secs(1), &log);
        assert_eq!(seen.borrow().last(), Some(&950));
    }

    #[test]
    fn a_budget_says_how_long_to_wait_and_spends_nothing_before() {
        let mut left = Allowance::of(Budget {
            most: 10.0,
            per_second: 2.0,
        });
        let start = left.at;
        assert_eq!(left.spend(10.0, start), None);
        let wait = left.spend(4.0, start).expect("it is spent");
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(left.spend(4.0, start + wait), None);
        assert!(left.spend(1.0, start + wait).is_some());
    }
}
