//! What the gateway hears of connections: sums by host and outcome, at most one message a second.
//!
//! Invariant: a connection is counted once, when its last part is dropped, however it ends.
//!
//! Must not know: what a connection carries.

use plexus_ipc::egress::AuditId;
use plexus_ipc::egress::{Connections, EgressVerdict, FromEgress, MAX_CONNECTIONS};
use plexus_ipc::{frame::FrameSender, text::Line};
use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// From one message to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Stands for all hosts beyond the first of a message.
const OTHERS: &str = "*";

type Sums = BTreeMap<Key, Sum>;
/// Host, port, call, and what came of it.
type Key = (String, u16, Option<AuditId>, EgressVerdict);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    bytes_in: u64,
    bytes_out: u64,
    duration: Duration,
}

/// Collects what happens until it is sent. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Arc<(Mutex<Sums>, Notify)>);

impl Report {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what came to nothing.
    pub(crate) fn refused(
        &self,
        host: &str,
        port: u16,
        call: Option<AuditId>,
        verdict: EgressVerdict,
    ) {
        let sum = Sum {
            count: 1,
            ..Sum::default()
        };
        self.add((host.to_owned(), port, call, verdict), sum);
    }

    fn add(&self, mut key: Key, one: Sum) {
        let mut sums = self.sums();
        // The last line is kept for what no other has room for.
        if sums.len() >= MAX_CONNECTIONS - 1 && !sums.contains_key(&key) {
            key = (OTHERS.to_owned(), 0, None, EgressVerdict::Unlisted);
        }
        let sum = sums.entry(key).or_default();
        sum.count += one.count;
        sum.bytes_in += one.bytes_in;
        sum.bytes_out += one.bytes_out;
        sum.duration += one.duration;
        drop(sums);
        self.0.1.notify_one();
    }

    /// Sends what there is.
    pub(crate) async fn send(&self, out: &FrameSender<FromEgress>) {
        let sums = std::mem::take(&mut *self.sums());
        let lines: Vec<_> = sums
            .into_iter()
            .map(|((host, port, call, verdict), sum)| Connections {
                host: Line::new(host),
                port,
                verdict,
                call,
                count: sum.count,
                bytes_in: sum.bytes_in,
                bytes_out: sum.bytes_out,
                duration_ms: u64::try_from(sum.duration.as_millis()).unwrap_or(u64::MAX),
            })
            .collect();
        if !lines.is_empty() {
            // A gateway that is gone reads none.
            let _ = out.send(&FromEgress::Connections(lines)).await;
        }
    }

    /// Sends what there is, again and again.
    pub(crate) async fn keep_sending(&self, out: &FrameSender<FromEgress>) {
        loop {
            self.0.1.notified().await;
            self.send(out).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A connection that was made.
    pub(crate) fn open(&self, host: &str, port: u16, call: Option<AuditId>) -> Open {
        Open(Arc::new(Running {
            report: self.clone(),
            host: host.to_owned(),
            port,
            call,
            verdict: Mutex::new(EgressVerdict::Admitted),
            since: Instant::now(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }))
    }
}

/// A connection under way. Clones are the same one, which is over with the last.
#[derive(Clone, Debug)]
pub(crate) struct Open(Arc<Running>);

#[derive(Debug)]
struct Running {
    report: Report,
    host: String,
    port: u16,
    call: Option<AuditId>,
    verdict: Mutex<EgressVerdict>,
    since: Instant,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Open {
    /// It came to something else than it seemed to.
    pub(crate) fn came_to(&self, verdict: EgressVerdict) {
        *self
            .0
            .verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// Bytes in both directions so far.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |of: &AtomicU64| of.load(Ordering::Relaxed);
        bytes(&self.0.bytes_in) + bytes(&self.0.bytes_out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let verdict = *self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = Sum {
            count: 1,
            bytes_in: *self.bytes_in.get_mut(),
            bytes_out: *self.bytes_out.get_mut(),
            duration: self.since.elapsed(),
        };
        let host = std::mem::take(&mut self.host);
        let key = (host, self.port, self.call.take(), verdict);
        self.report.add(key, sum);
    }
}

/// A stream to a host, counted.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    open: Open,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, open: Open) -> Self {
        Self { stream, open }
    }

    pub(crate) fn open(&self) -> &Open {
        &self.open
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.open
            .0
            .bytes_in
            .fetch_add(read as u64, Ordering::Relaxed);
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &poll {
            self.open
                .0
                .bytes_out
                .fetch_add(*written as u64, Ordering::Relaxed);
        }
        poll
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_ipc::{
        egress::MAX_EGRESS_FRAME,
        frame::{FrameReader, writer},
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What one message says.
    async fn sent(report: &Report) -> Vec<Connections> {
        let (near, far) = tokio::io::duplex(MAX_EGRESS_FRAME);
        let (out, writing) = writer(near, MAX_EGRESS_FRAME);
        report.send(&out).await;
        drop(out);
        writing.await.unwrap();
        match FrameReader::new(far, MAX_EGRESS_FRAME).next().await {
            Ok(Some(FromEgress::Connections(lines))) => lines,
            Ok(None) => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_connection_is_counted_once_and_when_it_is_over() {
        let report = Report::default();
        let (host, mut far) = tokio::io::duplex(64);
        let mut near = Metered::new(host, report.open("a.example", 443, None));
        far.write_all(b"twelve bytes").await.unwrap();
        near.read_exact(&mut [0; 12]).await.unwrap();
        near.write_all(b"four").await.unwrap();
        let open = near.open().clone();
        drop(near);
        assert!(sent(&report).await.is_empty(), "a part of it is left");
        open.came_to(EgressVerdict::Broken);
        drop(open);
        let lines = sent(&report).await;
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!((line.count, line.bytes_in, line.bytes_out), (1, 12, 4));
        assert_eq!(line.verdict, EgressVerdict::Broken);
        assert!(sent(&report).await.is_empty(), "it was said");
    }

    #[tokio::test]
    async fn however_many_hosts_are_asked_for_a_message_has_a_bound() {
        let report = Report::default();
        for n in 0..1_000 {
            let host = format!("h{n}.example");
            report.refused(&host, 443, None, EgressVerdict::Unlisted);
            report.refused(&host, 443, None, EgressVerdict::Unlisted);
        }
        let lines = sent(&report).await;
        assert_eq!(lines.len(), MAX_CONNECTIONS);
        assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 2_000);
        let others = lines.iter().find(|line| line.host.as_str() == OTHERS);
        assert!(others.is_some_and(|others| others.count > 1_800));
    }
}
