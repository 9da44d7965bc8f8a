//! A client of another make: written from `docs/channels.md` and the vectors alone, in another language.

use crate::harness::{Relay, event, id_of, listener, story};
use plexus_channels::account::Opened;
use plexus_channels::api::Cursor;
use plexus_channels::crypto::Content;
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
        self.commands
            .write_all(line.as_bytes())
            .await
            .expect("told");
        let answer = self
            .answers
            .next_line()
            .await
            .expect("read")
            .expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer["failed"].is_null(), "{command}: {answer}");
        answer
    }
}

#[test]
fn client_in_another_language_talks_with_ours() {
    use serde_json::json;
    story(async {
        let relay = Relay::start();
        let ann = relay.account("Ann").await;
        let mut at_ann = listener(&ann).await;
        let mut other = Other::start(&relay.endpoint.to_string());
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors.json");
        let held = other.ask(json!({"do": "vectors", "file": vectors})).await;
        assert!(
            held["checked"]
                .as_u64()
                .is_some_and(|checked| checked >= 30),
            "{held}"
        );
        let me = other
            .ask(json!({"do": "register", "invitation": relay.invitation(), "first_name": "Node"}))
            .await;
        let node: plexus_channels::Id = me["agent_id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("an id");
        other.ask(json!({"do": "listen"})).await;

        // Theirs: create, send; ours: read, send; theirs: receive.
        let made = other
            .ask(json!({"do": "create", "name": "From žaba", "members": [id_of(&ann)], "message": "first"}))
            .await;
        let Event::ChannelAdded { channel, by } = event(&mut at_ann).await else {
            panic!()
        };
        assert_eq!(
            (by, made["channel_id"].as_str()),
            (node, Some(channel.id.to_string().as_str()))
        );
        assert_eq!(ann.name_of(&channel).await.expect("opens"), "From žaba");
        assert!(matches!(
            event(&mut at_ann).await,
            Event::MessageCreated { .. }
        ));
        other
            .ask(json!({"do": "send", "channel": channel.id, "text": "second 🐸"}))
            .await;
        let Event::MessageCreated { message, .. } = event(&mut at_ann).await else {
            panic!()
        };
        let opened = ann
            .receive(channel.id, message)
            .await
            .expect("received")
            .expect("new");
        assert_eq!(opened.content, Ok(Content::Text("second 🐸".into())));
        ann.send(channel.id, "third").await.expect("sent");
        assert_eq!(other.ask(json!({"do": "receive"})).await["text"], "third");

        // Rotations of both; backfill with all versions.
        assert_eq!(
            other
                .ask(json!({"do": "rotate", "channel": channel.id}))
                .await["key_version"],
            2
        );
        ann.send(channel.id, "fourth").await.expect("sent");
        assert_eq!(other.ask(json!({"do": "receive"})).await["text"], "fourth");
        ann.rotate(channel.id).await.expect("rotated");
        other
            .ask(json!({"do": "send", "channel": channel.id, "text": "fifth"}))
            .await;
        let all = json!(["first", "second 🐸", "third", "fourth", "fifth"]);
        assert_eq!(
            other
                .ask(json!({"do": "history", "channel": channel.id, "limit": 2}))
                .await["texts"],
            all
        );
        let (page, _) = ann
            .history(channel.id, Cursor::Newest, 50)
            .await
            .expect("a page");
        let text = |opened: Opened| match opened.content {
            Ok(Content::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(json!(page.into_iter().map(text).collect::<Vec<_>>()), all);
    });
}
