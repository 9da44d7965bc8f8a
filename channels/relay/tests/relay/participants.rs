//! An agent in its channels over a relay that lies: it is told, and misses none of the true messages that reach it.

use crate::harness::{PATIENCE, Relay, id_of, made, story};
use crate::liar::{Liar, account, reopened};
use plexus_channels::Id;
use plexus_channels::account::Account;
use plexus_channels::api::Cursor;
use plexus_participant::{Agent, Mark};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// An id behind those of all messages.
const LAST: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

/// An agent whose turns complete.
struct Quiet(mpsc::UnboundedSender<String>);

impl Agent for Quiet {
    type Error = Infallible;

    async fn turn(
        &mut self,
        input: String,
        _: Vec<Mark>,
        _: watch::Receiver<bool>,
    ) -> Result<(), Infallible> {
        // Who has read enough lets go of it.
        let _ = self.0.send(input);
        Ok(())
    }

    fn is_fatal(_: &Infallible) -> bool {
        false
    }
}

/// An agent at work, and the inputs of its turns. It ends with this.
struct Desk {
    account: Arc<Account>,
    inputs: mpsc::UnboundedReceiver<String>,
    _stop: oneshot::Sender<()>,
    _notes: mpsc::Sender<plexus_participant::Note>,
}

impl Desk {
    /// Begins its work, and reads its digest.
    async fn begin(account: &Arc<Account>) -> (Self, String) {
        let (turns, inputs) = mpsc::unbounded_channel();
        let (_notes, notes) = mpsc::channel(1);
        let (_stop, stopped) = oneshot::channel();
        let (own, agent) = (Arc::clone(account), Quiet(turns));
        let go_on = |_| ControlFlow::Continue(());
        tokio::spawn(async move {
            let asked = async { drop(stopped.await) };
            let ended = plexus_participant::run(own, agent, notes, go_on, asked).await;
            ended.expect("it goes on");
        });
        let mut desk = Self {
            account: Arc::clone(account),
            inputs,
            _stop,
            _notes,
        };
        let digest = desk.reads("[event: started as").await;
        (desk, digest)
    }

    /// What it reads from here on to the turn that says this.
    async fn reads(&mut self, words: &str) -> String {
        let mut read = String::new();
        while !read.contains(words) {
            let input = timeout(PATIENCE, self.inputs.recv()).await;
            let input = input.unwrap_or_else(|_| panic!("{words} is not in {read}"));
            read += &input.expect("it works");
            read += "\n";
        }
        read
    }

    /// Waits for the watermark of a channel.
    async fn marks(&self, channel: Id, message: Id) {
        let is_there = async {
            while self.account.watermark(channel).await != Some(message) {
                tokio::task::yield_now().await;
            }
        };
        let marked = timeout(PATIENCE, is_there).await;
        let mark = self.account.watermark(channel).await;
        assert!(marked.is_ok(), "{mark:?}, not {message}");
    }
}

/// Ann, whose way leads over a liar, and Bob, who writes to her in a channel.
struct Pair {
    relay: Relay,
    ann: Arc<Account>,
    liar: Arc<Liar>,
    bob: Arc<Account>,
    channel: Id,
}

impl Pair {
    async fn open() -> Self {
        let relay = Relay::start();
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let channel = made(&bob, &[&ann], Some("zero")).await;
        Self {
            relay,
            ann,
            liar,
            bob,
            channel,
        }
    }

    /// Ann in another process: only her files are left of the one before it.
    async fn restart(self, desk: Desk) -> Self {
        drop(desk);
        let held = Arc::downgrade(&self.ann);
        drop(self.ann);
        let is_over = async {
            while held.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let over = timeout(PATIENCE, is_over).await;
        over.expect("nothing of it goes on");
        let ann = reopened(&self.relay, "Ann", &self.liar);
        Self { ann, ..self }
    }

    /// What is told of a message that came before.
    fn repeated(&self) -> String {
        let channel = self.channel;
        format!(
            "[event: a message of \"Bob\" in channel {channel} was repeated or came out of order,"
        )
    }

    async fn says(&self, text: &str) -> Id {
        let sent = self.bob.send(self.channel, text).await;
        sent.expect("sent").message_id
    }
}

/// Breaks what a message holds, and puts it behind all others.
fn falsify(message: &mut Value) {
    message["message_id"] = json!(LAST);
    message["seq"] = json!(1_u64 << 40);
    message["ciphertext"] = json!("A".repeat(64));
}

#[test]
fn push_out_of_order_is_told_and_stops_nothing() {
    story(async {
        let pair = Pair::open().await;
        let (mut held, mut is_done) = (Vec::new(), false);
        pair.liar.pushes(move |event| {
            if event["type"] != "message.created" || is_done {
                return vec![event];
            }
            is_done = !held.is_empty();
            held.insert(0, event);
            if is_done {
                std::mem::take(&mut held)
            } else {
                Vec::new()
            }
        });
        let (mut desk, digest) = Desk::begin(&pair.ann).await;
        assert!(digest.contains("Bob: zero"), "{digest}");
        pair.says("one").await;
        pair.says("two").await;
        let line = format!(
            "{} and is not shown; list_messages shows the channel]",
            pair.repeated()
        );
        let read = desk.reads(&line).await;
        assert!(
            read.contains("Bob: two") && !read.contains("Bob: one"),
            "{read}"
        );
        let last = pair.says("three").await;
        desk.reads("Bob: three").await;
        desk.marks(pair.channel, last).await;
    });
}

#[test]
fn old_message_under_a_later_id_is_told_and_not_shown_again() {
    story(async {
        let pair = Pair::open().await;
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let one = pair.says("one").await;
        desk.reads("Bob: one").await;
        desk.marks(pair.channel, one).await;
        let page = pair.bob.api();
        let page = page.history(pair.channel, Cursor::Newest, 1).await;
        let mut again = json!(page.expect("a page").messages[0]);
        again["message_id"] = json!(LAST);
        let line = pair.repeated();
        // In the history that the next process reads.
        let pair = pair.restart(desk).await;
        let two = pair.says("two").await;
        let repeated = again.clone();
        pair.liar.changes("after_id", move |page| {
            let messages = page["messages"].as_array_mut().expect("a page");
            messages.push(repeated.clone());
        });
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let read = desk.reads(&line).await;
        assert!(
            read.contains("Bob: two") && !read.contains("Bob: one"),
            "{read}"
        );
        desk.marks(pair.channel, two).await;
        // In the live stream of the one after it, before anything else of Bob's.
        let pair = pair.restart(desk).await;
        pair.liar.tells_the_truth();
        let repeated = again.clone();
        pair.liar.pushes(move |event| {
            if event["type"] != "message.created" {
                return vec![event];
            }
            let mut first = event.clone();
            first["message"] = repeated.clone();
            vec![first, event]
        });
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let three = pair.says("three").await;
        let read = desk.reads("Bob: three").await;
        assert!(read.contains(&line) && !read.contains("Bob: one"), "{read}");
        desk.marks(pair.channel, three).await;
        // It was told of once, and keeps nothing out.
        let four = pair.says("four").await;
        let read = desk.reads("Bob: four").await;
        assert!(!read.contains(&line), "{read}");
        desk.marks(pair.channel, four).await;
    });
}

#[test]
fn message_with_a_false_id_makes_nobody_deaf() {
    story(async {
        let pair = Pair::open().await;
        let mut lies = 1;
        pair.liar.pushes(move |mut event| {
            if event["type"] == "message.created" && lies > 0 {
                lies -= 1;
                falsify(&mut event["message"]);
            }
            vec![event]
        });
        let unclear = format!(
            "[event: a message of \"Bob\" in channel {} could not be decrypted]",
            pair.channel
        );
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        pair.says("one").await;
        desk.reads(&unclear).await;
        let two = pair.says("two").await;
        desk.reads("Bob: two").await;
        desk.marks(pair.channel, two).await;
        drop(desk);
        // The same in the history that the next start reads.
        let three = pair.says("three").await;
        pair.liar.changes("after_id", |page| {
            let messages = page["messages"].as_array_mut().expect("a page");
            if let Some(mut last) = messages.first().cloned() {
                falsify(&mut last);
                messages.push(last);
            }
        });
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let read = desk.reads(&unclear).await;
        assert!(read.contains("Bob: three"), "{read}");
        desk.marks(pair.channel, three).await;
        let four = pair.says("four").await;
        desk.reads("Bob: four").await;
        desk.marks(pair.channel, four).await;
    });
}

#[test]
fn page_that_is_cut_short_is_told() {
    story(async {
        let pair = Pair::open().await;
        let (desk, _) = Desk::begin(&pair.ann).await;
        drop(desk);
        let one = pair.says("one").await;
        let two = pair.says("two").await;
        pair.liar.changes("after_id", |page| {
            let messages = page["messages"].as_array_mut().expect("a page");
            messages.truncate(1);
            page["has_more"] = json!(false);
        });
        let withheld = format!(
            "[event: the relay names a newer message in channel {} than it shows;",
            pair.channel
        );
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let read = desk.reads(&withheld).await;
        assert!(
            read.contains("Bob: one") && !read.contains("Bob: two"),
            "{read}"
        );
        desk.marks(pair.channel, one).await;
        drop(desk);
        // The control: the whole truth has no such line.
        pair.liar.tells_the_truth();
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let read = desk.reads("Bob: two").await;
        assert!(!read.contains(&withheld), "{read}");
        desk.marks(pair.channel, two).await;
    });
}

#[test]
fn renewed_key_is_told_with_its_signer_and_who_comes_and_goes() {
    story(async {
        let pair = Pair::open().await;
        let eve = pair.relay.account("Eve").await;
        let (mut desk, _) = Desk::begin(&pair.ann).await;
        let key = pair.bob.identity().key.public().shown_fingerprint();
        let line = |version: u32, who: &str| {
            let channel = pair.channel;
            format!(
                "[event: the key of channel {channel} was renewed: version {version} by \"Bob\", key {key}; {who} \"Eve\"]"
            )
        };
        let added = pair.bob.add_member(pair.channel, id_of(&eve)).await;
        added.expect("added");
        desk.reads(&line(2, "with")).await;
        let removed = pair.bob.remove_member(pair.channel, id_of(&eve)).await;
        removed.expect("removed");
        desk.reads(&line(3, "without")).await;
    });
}
