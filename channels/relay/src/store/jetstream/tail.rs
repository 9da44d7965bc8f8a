//! The tail: messages of the stream in their order, each once, as long as the store lives.

use super::stream::{StreamMatch, held};
use super::{PAUSE, STREAM, Shared, StoreError, Subject, failed, subject_of};
use async_nats::jetstream::consumer::push::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::Message as Numbered;
use async_nats::{Message, StatusCode, Subscriber, header};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

/// How often a consumer without messages says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A consumer that says nothing for so long is gone with its node.
const SILENCE: Duration = Duration::from_secs(4);
/// How long making one may take. A cluster may place it on the node that it has just lost, which never answers; the next one is
/// made elsewhere.
const MAKING: Duration = Duration::from_secs(5);
/// Messages that wait to be applied.
pub(super) const QUEUE: usize = 1_024;

/// A message of the stream.
pub(super) struct StreamMessage {
    pub(super) sequence: u64,
    /// None where no relay wrote it.
    pub(super) subject: Option<Subject>,
    pub(super) payload: Bytes,
}

/// Reads behind what was applied. A new connection begins with a new consumer: messages may have been sent to the lost one.
pub(super) async fn run(
    shared: &Shared,
    reconnected: &Notify,
    queue: Sender<Option<StreamMessage>>,
) {
    let mut received = *shared.applied.borrow();
    loop {
        // A consumer behind what the stream has lost would go on as if nothing had been.
        match held(&shared.context, &shared.tables).await {
            Ok(StreamMatch::Yes) => {}
            // While it lasts this relay is not current, and says so.
            Ok(StreamMatch::NotYet) => {
                tracing::error!(name: "store.behind", "the stream ends before what this relay has read: its leader is behind, or messages were lost; trying again");
                continue;
            }
            Ok(StreamMatch::Lost) => {
                tracing::error!(name: "store.messages_lost", "the stream has lost messages that this relay has read; start it again to hear what to do");
                shared.fail();
                return;
            }
            Err(why) => {
                tracing::warn!(name: "store.tail", %why, "the stream cannot be read; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        // An earlier notice is about the consumer before: it would end the new one, which is hard to get while a node is away.
        let _ = reconnected.notified().now_or_never();
        let mut consumer = match Consumer::open(shared, received + 1).await {
            Ok(consumer) => {
                let _ = shared.reopen.notified().now_or_never();
                consumer
            }
            Err(why) => {
                tracing::warn!(name: "store.tail", %why, "the stream cannot be read; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        loop {
            let came = tokio::select! {
                biased;
                () = reconnected.notified() => break,
                () = shared.reopen.notified() => break,
                came = consumer.next() => came,
            };
            let Some(came) = came else {
                tracing::info!(name: "store.tail", "the stream is read by another consumer");
                break;
            };
            if came.sequence > received {
                received = came.sequence;
                if queue.send(Some(came)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A consumer of the stream that acknowledges nothing: messages come once and in order, or it is over.
struct Consumer {
    context: Context,
    messages: Subscriber,
    /// Its messages until now.
    delivered: u64,
}

impl Consumer {
    async fn open(shared: &Shared, first: u64) -> Result<Self, StoreError> {
        let client = shared.context.client();
        let inbox = client.new_inbox();
        // The interest goes ahead of the consumer: one without it waits for seconds.
        let messages = client.subscribe(inbox.clone()).await.map_err(failed)?;
        let config = Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: first,
            },
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: Duration::from_secs(30),
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let made = shared.context.create_consumer_on_stream(config, STREAM);
        let late = |_| failed("no consumer was made in time");
        timeout(MAKING, made).await.map_err(late)?.map_err(failed)?;
        Ok(Self {
            context: shared.context.clone(),
            messages,
            delivered: 0,
        })
    }

    /// The next message; none where the consumer is gone, or one of its messages.
    async fn next(&mut self) -> Option<StreamMessage> {
        loop {
            let message = timeout(SILENCE, self.messages.next()).await.ok()??;
            if message.status == Some(StatusCode::IDLE_HEARTBEAT) {
                self.answer(&message).await?;
                continue;
            }
            let message = Numbered {
                message,
                context: self.context.clone(),
            };
            let info = message.info().ok()?;
            if info.consumer_sequence != self.delivered + 1 {
                return None;
            }
            self.delivered += 1;
            let sequence = info.stream_sequence;
            let (message, _) = message.split();
            return Some(StreamMessage {
                sequence,
                subject: subject_of(&message.subject),
                payload: message.payload,
            });
        }
    }

    /// Answers flow control; none where a heartbeat knows of messages that have not come.
    async fn answer(&self, message: &Message) -> Option<()> {
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            Some(headers.get_last(name)?.as_str().to_owned())
        };
        let stalled = header("Nats-Consumer-Stalled").map(Into::into);
        if let Some(to) = message.reply.clone().or(stalled) {
            let client = self.context.client();
            client.publish(to, Bytes::new()).await.ok()?;
            return Some(());
        }
        let known = header(header::NATS_LAST_CONSUMER.as_ref());
        let known = known.and_then(|known| known.parse::<u64>().ok());
        known
            .is_none_or(|known| known == self.delivered)
            .then_some(())
    }
}
