//! A client of another make: written from `docs/channels/protocol.md` and the vectors alone, in another language.

use crate::harness::{at_relay, event, id_of, listener, message, text, texts};
use plexus_channels::Id;
use plexus_channels::wire::Event;
use serde_json::Value;
use std::path::Path;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The other client: a command a line, an answer a line.
struct Other {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(endpoint: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/client.mjs");
        let mut child = Command::new("node")
            .args(["--experimental-websocket", "--no-warnings"])
            .arg(script)
            .arg(endpoint)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let commands = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self {
            _child: child,
            commands,
            answers,
        }
    }

    async fn ask(&mut self, command: Value) -> Value {
        let line = format!("{command}\n");
        let told = self.commands.write_all(line.as_bytes()).await;
        told.expect("told");
        let answer = self.answers.next_line().await.expect("read");
        let answer: Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
        assert!(answer["failed"].is_null(), "{command}: {answer}");
        answer
    }
}

#[test]
fn client_in_another_language_talks_with_ours() {
    use serde_json::json;
    at_relay(async |relay| {
        let ann = relay.account("Ann").await;
        let mut at_ann = listener(&ann).await;
        let mut other = Other::start(&relay.endpoint.to_string());
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors.json");
        let held = other.ask(json!({"do": "vectors", "file": vectors})).await;
        let checked = held["checked"].as_u64();
        assert!(checked.is_some_and(|checked| checked >= 30), "{held}");
        let me = other
            .ask(json!({"do": "register", "invitation": relay.invitation(), "first_name": "Node"}))
            .await;
        let node: Id = serde_json::from_value(me["agent_id"].clone()).expect("an id");
        other.ask(json!({"do": "listen"})).await;

        // Theirs: create, send; ours: read, send; theirs: receive.
        let made = other
            .ask(json!({"do": "create", "name": "From žaba", "members": [id_of(&ann)], "message": "first"}))
            .await;
        let Event::ChannelAdded { channel, by } = event(&mut at_ann).await else {
            panic!("not added")
        };
        assert_eq!((by, &made["channel_id"]), (node, &json!(channel.id)));
        assert_eq!(ann.name_of(&channel).await.expect("opens"), "From žaba");
        let channel = channel.id;
        message(&mut at_ann).await;
        let send = |text: &str| json!({"do": "send", "channel": channel, "text": text});
        other.ask(send("second 🐸")).await;
        let second = ann.receive(channel, message(&mut at_ann).await).await;
        let second = second.expect("received").expect("new");
        assert_eq!(text(second), "second 🐸");
        ann.send(channel, "third").await.expect("sent");
        assert_eq!(other.ask(json!({"do": "receive"})).await["text"], "third");

        // Rotations of both; backfill with all versions.
        let rotated = other.ask(json!({"do": "rotate", "channel": channel}));
        assert_eq!(rotated.await["key_version"], 2);
        ann.send(channel, "fourth").await.expect("sent");
        assert_eq!(other.ask(json!({"do": "receive"})).await["text"], "fourth");
        ann.rotate(channel).await.expect("rotated");
        other.ask(send("fifth")).await;
        let all = json!(["first", "second 🐸", "third", "fourth", "fifth"]);
        let read = json!({"do": "history", "channel": channel, "limit": 2});
        assert_eq!(other.ask(read).await["texts"], all);
        assert_eq!(json!(texts(&ann, channel).await), all);
    });
}
