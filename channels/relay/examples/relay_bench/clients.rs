//! Clients by hand: devices that are registered and logged in, channels, and requests on a connection that is kept.

use crate::server::Server;
use futures_util::stream::{self, StreamExt as _};
use plexus_channels::api::Credentials;
use plexus_channels::chain::{Chain, Draft, Members, verified};
use plexus_channels::crypto::{StateHash, WrapContext};
use plexus_channels::wire::{CreateChannel, NewDevice, Register};
use plexus_channels::{Api, ChannelKey, DeviceKey, Direct, Endpoint, Id, PublicKey};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A kept connection is opened anew where it was not used for so long: a relay ends one that says nothing for 15 s, and a client of a busy machine can
/// be away for that long while the others have their turn.
const UNUSED: Duration = Duration::from_secs(5);
/// Requests at once while clients are made.
pub(crate) const AT_ONCE: usize = 16;

/// A user with a device and a token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) user: Id,
    pub(crate) device: Id,
    pub(crate) key: Arc<DeviceKey>,
    pub(crate) token: String,
}

/// A member, as a channel's creator sees it.
pub(crate) struct Recipient<'a> {
    pub(crate) user: Id,
    pub(crate) device: Id,
    pub(crate) public: &'a PublicKey,
}

impl Client {
    pub(crate) fn recipient(&self) -> Recipient<'_> {
        Recipient {
            user: self.user,
            device: self.device,
            public: self.key.public(),
        }
    }
}

/// Registers so many, and logs them in.
pub(crate) async fn register(server: &Server, many: usize) -> Vec<Client> {
    let made = stream::iter(strangers(server, many).await);
    let endpoint = &server.endpoint;
    made.map(|client| async move { log_in(endpoint, client).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Registers so many, who are not logged in.
pub(crate) async fn strangers(server: &Server, many: usize) -> Vec<Client> {
    let invitation = server.invitation(many);
    let open = Api::new(server.endpoint.clone(), Arc::new(Direct::default()), None);
    let made = (0..many).map(|_| one(&open, &invitation));
    stream::iter(made).buffer_unordered(AT_ONCE).collect().await
}

async fn one(open: &Api, invitation: &str) -> Client {
    let key = Arc::new(DeviceKey::generate());
    let register = Register {
        registration_id: Id::generate(),
        invitation_key: invitation.to_owned(),
        first_name: None,
        last_name: None,
        skills: Vec::new(),
        device: NewDevice {
            public_key: key.public().to_wire(),
        },
    };
    let made = open.register(&register).await.expect("registered");
    Client {
        user: made.agent_id,
        device: made.device_id,
        key,
        token: String::new(),
    }
}

async fn log_in(endpoint: &Endpoint, client: Client) -> Client {
    let who = Credentials {
        agent_id: client.user,
        device_id: client.device,
        key: Arc::clone(&client.key),
    };
    let api = Api::new(endpoint.clone(), Arc::new(Direct::default()), Some(who));
    let token = api.token().await.expect("logged in").to_string();
    Client { token, ..client }
}

/// Makes a channel of a client and further members.
pub(crate) async fn create(
    connection: &mut Connection,
    creator: &Client,
    members: &[Recipient<'_>],
) -> (Id, ChannelKey, StateHash) {
    let (channel_id, channel_key) = (Id::generate(), ChannelKey::generate());
    let own = creator.recipient();
    let all = members.iter().chain([&own]);
    let all = all.map(|one| (one.device, (one.user, one.public.clone())));
    let named: Members = all.collect();
    let draft = Draft {
        key_version: 1,
        members: &named,
        key: &channel_key,
        earlier: Vec::new(),
        by: (creator.user, creator.device),
    };
    let state = Chain::new(channel_id).signed(draft, &creator.key);
    let state = state.expect("signed");
    let hash = verified(channel_id, &state, &named).expect("verified");
    let wrap = |to: &Recipient<'_>| {
        let context = WrapContext {
            channel_id,
            key_version: 1,
            sender_device_id: creator.device,
            recipient_device_id: to.device,
            recipient: to.public,
            state: Some(&hash),
        };
        creator.key.wrap(&channel_key, &context)
    };
    let others = members.iter().filter(|member| member.user != creator.user);
    let mut keys: Vec<_> = others.map(wrap).collect();
    keys.push(wrap(&creator.recipient()));
    let create = CreateChannel {
        channel_id,
        name: channel_key.seal_name(channel_id, (1, Some(&hash)), creator.device, "bench"),
        members: members.iter().map(|member| member.user).collect(),
        keys,
        message: None,
        state: Some(state),
    };
    let body = serde_json::to_string(&create).expect("JSON");
    connection.post("/v1/channels", &creator.token, &body).await;
    (channel_id, channel_key, hash)
}

/// A connection to the relay that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    authority: String,
    read: Vec<u8>,
    used: Instant,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Self {
        Self::to(endpoint.authority()).await
    }

    async fn to(authority: String) -> Self {
        let stream = TcpStream::connect(&authority).await.expect("connected");
        stream.set_nodelay(true).expect("an option");
        Self {
            stream,
            authority,
            read: Vec::new(),
            used: Instant::now(),
        }
    }

    /// Sends a body, which has to be taken.
    pub(crate) async fn post(&mut self, path: &str, token: &str, body: &str) {
        let answered = self.ask(path, "Authorization: Bearer ", token, body).await;
        let (status, answer) = answered.expect("the relay keeps the connection");
        assert!(status == 201, "{}", String::from_utf8_lossy(answer));
    }

    /// Sends a body with one more header: status and body of the answer. Nothing where the relay has closed the connection.
    pub(crate) async fn ask(
        &mut self,
        path: &str,
        name: &str,
        value: &str,
        body: &str,
    ) -> Option<(u16, &[u8])> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{name}{value}\r\nContent-Length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        let head = self.head(&request).await?;
        let text = String::from_utf8_lossy(&self.read[..head]).to_lowercase();
        let (_, length) = text.split_once("content-length: ").expect("a length");
        let length = length.lines().next().and_then(|length| length.parse().ok());
        let whole = head + 4 + length.unwrap_or(0);
        while self.read.len() < whole {
            self.more().await?;
        }
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        Some((status.expect("a status"), &self.read[head + 4..]))
    }

    /// Asks for events: the stream behind the answer, and what was read of it. Nothing as [`ask`](Self::ask).
    pub(crate) async fn events(mut self, token: &str) -> Option<(TcpStream, Vec<u8>)> {
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            self.authority
        );
        let head = self.head(&request).await?;
        let text = String::from_utf8_lossy(&self.read[..head]);
        assert!(text.starts_with("HTTP/1.1 101"), "{text}");
        self.read.drain(..head + 4);
        Some((self.stream, self.read))
    }

    /// Sends a request: where the head of its answer ends.
    async fn head(&mut self, request: &str) -> Option<usize> {
        if self.used.elapsed() > UNUSED {
            *self = Self::to(self.authority.clone()).await;
        }
        self.stream.write_all(request.as_bytes()).await.ok()?;
        self.read.clear();
        loop {
            self.more().await?;
            if let Some(at) = memchr::memmem::find(&self.read, b"\r\n\r\n") {
                return Some(at);
            }
        }
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await;
        self.used = Instant::now();
        read.is_ok_and(|read| read > 0).then_some(())
    }
}
