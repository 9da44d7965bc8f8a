//! A liar on the way to a real relay: it alters, drops or holds answers, and what the relay pushes.

use crate::harness::Relay;
use plexus_channels::account::Account;
use plexus_channels::dial::{Dial, Dialing, Direct, Endpoint, Stream};
use plexus_channels::identity::Home;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

/// What becomes of an answer.
pub(crate) enum Lied {
    /// It arrives as it is.
    Truth,
    /// This arrives in its place.
    Answer(u16, Value),
    /// The connection ends instead.
    Lost,
    /// It arrives when this says so.
    After(Arc<Notify>),
}

type Lie = Box<dyn Fn(&str, &Value) -> Lied + Send>;
/// What arrives in the place of an event.
type Push = Box<dyn FnMut(Value) -> Vec<Value> + Send>;

/// The way to the relay.
pub(crate) struct Liar {
    lie: Arc<Mutex<Lie>>,
    /// How many bytes of each of the next event streams arrive after the upgrade.
    pub(crate) cuts: Arc<Mutex<VecDeque<u64>>>,
    push: Arc<Mutex<Push>>,
}

impl Liar {
    /// From now on answers are what `lie` makes of them; it is given the line of the request.
    pub(crate) fn lies(&self, lie: impl Fn(&str, &Value) -> Lied + Send + 'static) {
        *self.lie.lock().expect("no panic") = Box::new(lie);
    }

    /// From now on answers to requests with `part` in their line are what `change` makes of them.
    pub(crate) fn changes(&self, part: &str, change: impl Fn(&mut Value) + Send + 'static) {
        let part = part.to_owned();
        self.lies(move |line, page| match line.contains(&part) {
            true => {
                let mut page = page.clone();
                change(&mut page);
                Lied::Answer(200, page)
            }
            false => Lied::Truth,
        });
    }

    /// From now on events are what `push` makes of each; on event streams that were opened after this.
    pub(crate) fn pushes(&self, push: impl FnMut(Value) -> Vec<Value> + Send + 'static) {
        *self.push.lock().expect("no panic") = Box::new(push);
    }

    /// From now on no login is accepted.
    pub(crate) fn refuses_logins(&self) {
        self.lies(|line, _| match line.contains("/v1/auth/token") {
            true => Lied::Answer(
                401,
                json!({"error": {"code": "invalid_proof", "message": "no"}}),
            ),
            false => Lied::Truth,
        });
    }

    pub(crate) fn tells_the_truth(&self) {
        self.lies(|_, _| Lied::Truth);
    }
}

impl Dial for Liar {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async move {
            let far = Direct::default().dial(to).await?;
            let (near, mine) = tokio::io::duplex(1 << 20);
            let (lie, cuts) = (Arc::clone(&self.lie), Arc::clone(&self.cuts));
            tokio::spawn(carry(mine, far, lie, (cuts, Arc::clone(&self.push))));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// Carries requests and answers until one side ends.
async fn carry(
    mut near: impl Stream,
    mut far: Box<dyn Stream>,
    lie: Arc<Mutex<Lie>>,
    (cuts, push): (Arc<Mutex<VecDeque<u64>>>, Arc<Mutex<Push>>),
) {
    while let Some((head, body)) = message(&mut near).await {
        let line = head.lines().next().unwrap_or_default().to_owned();
        far.write_all(format!("{head}{body}").as_bytes())
            .await
            .expect("the relay reads");
        if head.to_ascii_lowercase().contains("upgrade: websocket") {
            let cut = cuts.lock().expect("no panic").pop_front();
            let Some((head, _)) = message(&mut far).await else {
                return;
            };
            let _ = near.write_all(head.as_bytes()).await;
            // What the client sends has no meaning; its end is seen when something is written.
            let _ = match cut {
                Some(cut) => tokio::io::copy(&mut far.take(cut), &mut near)
                    .await
                    .map(|_| ()),
                None => frames(&mut far, &mut near, &push).await,
            };
            return;
        }
        let Some((head, body)) = message(&mut far).await else {
            return;
        };
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        let lied = lie.lock().expect("no panic")(&line, &value);
        let answer = match lied {
            Lied::Truth => format!("{head}{body}"),
            Lied::Lost => return,
            Lied::Answer(status, value) => {
                let body = value.to_string();
                let length = body.len();
                format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\n\r\n{body}")
            }
            Lied::After(gate) => {
                gate.notified().await;
                format!("{head}{body}")
            }
        };
        if near.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Carries frames of a server until one side ends: events as `push` makes them, all others as they are.
async fn frames(
    from: &mut (impl Stream + ?Sized),
    to: &mut impl Stream,
    push: &Mutex<Push>,
) -> std::io::Result<()> {
    loop {
        let (first, length) = (from.read_u8().await?, from.read_u8().await?);
        let length = match length {
            126 => u64::from(from.read_u16().await?),
            127 => from.read_u64().await?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).expect("it fits")];
        from.read_exact(&mut payload).await?;
        let event = serde_json::from_slice::<Value>(&payload);
        let payloads = match event.ok().filter(|event| event["type"].is_string()) {
            None => vec![payload],
            Some(event) => {
                let pushed = push.lock().expect("no panic")(event);
                pushed
                    .iter()
                    .map(|event| event.to_string().into_bytes())
                    .collect()
            }
        };
        for payload in payloads {
            match u8::try_from(payload.len()) {
                Ok(short @ 0..126) => to.write_all(&[first, short]).await?,
                _ => {
                    to.write_all(&[first, 127]).await?;
                    to.write_u64(payload.len() as u64).await?;
                }
            }
            to.write_all(&payload).await?;
        }
    }
}

/// A request or an answer: its head with the empty line, and its body.
async fn message(from: &mut (impl Stream + ?Sized)) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let lengths = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().map_or(Ok(0), |(_, length)| length.parse());
    let mut body = vec![0; length.ok()?];
    from.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// An account whose way to the relay leads over a liar, which tells the truth at first.
pub(crate) async fn account(relay: &Relay, name: &str) -> (Arc<Account>, Arc<Liar>) {
    drop(relay.account(name).await);
    let liar = Arc::new(Liar {
        lie: Arc::new(Mutex::new(Box::new(|_, _| Lied::Truth))),
        cuts: Arc::default(),
        push: Arc::new(Mutex::new(Box::new(|event| vec![event]))),
    });
    (reopened(relay, name, &liar), liar)
}

/// The account as another process finds it.
pub(crate) fn reopened(relay: &Relay, name: &str, liar: &Arc<Liar>) -> Arc<Account> {
    let home = Home::at(&relay.folder.path().join(name)).expect("a home");
    let names = home.identities().expect("a folder");
    let identity = home.open(&names[0]).expect("opens");
    let account = Account::open(identity, Arc::clone(liar) as Arc<dyn Dial>);
    Arc::new(account.expect("opens"))
}
