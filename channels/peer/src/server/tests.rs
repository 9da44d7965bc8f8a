//! The server over its port: who may ask, sessions, tools of an identity whose relay is away.

use super::*;
use plexus_channels::dial::Direct;
use plexus_channels::identity::{Facts, Home};
use plexus_channels::wire::Kind;
use plexus_channels::{Account, DeviceKey, Id};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Tools of an identity whose relay is not there.
fn tools() -> (Tools, TempDir) {
    let root = tempfile::tempdir().expect("a folder");
    let home = Home::at(root.path()).expect("a home");
    let folder = root.path().join("agents/ada");
    fs::create_dir(&folder).expect("made");
    let id = Id::generate();
    let facts = Facts {
        version: 1,
        public_id: id,
        agent_id: id,
        device_id: Id::generate(),
        kind: Kind::Agent,
        first_name: "Ada".into(),
        last_name: String::new(),
        api_endpoint: "http://127.0.0.1:1".into(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let key = DeviceKey::generate().to_pem().expect("a key");
    for (name, text) in [
        ("identity.json", json!(facts).to_string()),
        ("private_key.pem", key.to_string()),
    ] {
        let file = folder.join(name);
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let identity = home.open("ada").expect("opens");
    let account = Account::open(identity, Arc::new(Direct::default())).expect("opens");
    (Tools::new(Arc::new(account)), root)
}

/// A plain request: status, session and body.
async fn ask(
    port: u16,
    headers: &[(&str, &str)],
    method: &str,
    body: &str,
) -> (u16, String, Value) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("connected");
    let mut head = format!("{method} /mcp HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    let request =
        format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    // A server that has seen enough closes before it has all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let session = lines.find(|(name, _)| name.eq_ignore_ascii_case(SESSION));
    (
        status.expect("a status"),
        session.map_or_else(String::new, |(_, value)| value.to_owned()),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

fn request(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn requests_from_elsewhere_and_without_the_token_are_refused() {
    let (tools, _root) = tools();
    let (server, port) = Server::start(tools).await.expect("a port");
    let host = format!("127.0.0.1:{port}");
    let body = request("initialize", json!({"protocolVersion": "2025-06-18"}));
    let no_turn = [("Host", &*host), ("Authorization", "Bearer ")];
    assert_eq!(ask(port, &no_turn, "POST", &body).await.0, 401);
    let token = format!("Bearer {}", server.open_turn());
    let right = [("Host", &*host), ("Authorization", &*token)];
    let elsewhere = [("Host", "evil.example"), right[1]];
    let page = [right[0], right[1], ("Origin", "http://127.0.0.1")];
    let wrong = [right[0], ("Authorization", "Bearer x")];
    assert_eq!(ask(port, &elsewhere, "POST", &body).await.0, 403);
    assert_eq!(ask(port, &page, "POST", &body).await.0, 403);
    assert_eq!(ask(port, &wrong, "POST", &body).await.0, 401);
    assert_eq!(ask(port, &right[..1], "POST", &body).await.0, 401);
    assert_eq!(ask(port, &right, "GET", "").await.0, 405);
    assert_eq!(ask(port, &right, "POST", "{").await.0, 400);
    let large = "x".repeat(BODY_BYTES + 1);
    assert_eq!(ask(port, &right, "POST", &large).await.0, 413);
    assert_eq!(ask(port, &right, "POST", &body).await.0, 200);
    server.close_turn().await;
    assert_eq!(ask(port, &right, "POST", &body).await.0, 401);
    assert_ne!(server.open_turn(), token["Bearer ".len()..]);
    assert_eq!(ask(port, &right, "POST", &body).await.0, 401);
}

#[tokio::test]
async fn session_lists_and_calls_and_ends() {
    let (tools, _root) = tools();
    let (server, port) = Server::start(tools).await.expect("a port");
    let host = format!("127.0.0.1:{port}");
    let token = format!("Bearer {}", server.open_turn());
    let right = [("Host", &*host), ("Authorization", &*token)];
    let list = request("tools/list", json!({}));
    assert_eq!(ask(port, &right, "POST", &list).await.0, 400);
    let begin = request("initialize", json!({"protocolVersion": "2025-06-18"}));
    let (_, session, begun) = ask(port, &right, "POST", &begin).await;
    assert_eq!(begun["result"]["protocolVersion"], "2025-06-18");
    let of = [right[0], right[1], (SESSION, &*session)];
    let unknown = [right[0], right[1], (SESSION, "x")];
    let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(ask(port, &of, "POST", &done).await.0, 202);
    assert_eq!(ask(port, &unknown, "POST", &list).await.0, 404);
    let (_, _, listed) = ask(port, &of, "POST", &list).await;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(15));
    let call = |name: &str, arguments: Value| {
        request("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let (_, _, away) = ask(port, &of, "POST", &call("me", json!({}))).await;
    let result = &away["result"];
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["error"]["code"], "unreachable");
    let text = result["content"][0]["text"].as_str().expect("a text");
    let text: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(text, result["structuredContent"]);
    let (_, _, wrong) = ask(port, &of, "POST", &call("reply", json!({"text": "a"}))).await;
    let code = &wrong["result"]["structuredContent"]["error"]["code"];
    assert_eq!(code, "invalid_request");
    let (_, _, none) = ask(port, &of, "POST", &call("rm", json!({}))).await;
    assert_eq!(none["error"]["code"], message::INVALID_PARAMS);
    let (_, _, none) = ask(port, &of, "POST", &request("prompts/list", json!({}))).await;
    assert_eq!(none["error"]["code"], message::METHOD_NOT_FOUND);
    assert_eq!(ask(port, &of, "DELETE", "").await.0, 204);
    assert_eq!(ask(port, &of, "DELETE", "").await.0, 404);
    assert_eq!(ask(port, &of, "POST", &list).await.0, 404);
    for _ in 0..SESSIONS {
        assert_eq!(ask(port, &right, "POST", &begin).await.0, 200);
    }
    assert_eq!(ask(port, &right, "POST", &begin).await.0, 429);
    let used = server.close_turn().await;
    let calls = 3;
    let is_listed = true;
    assert_eq!(used, Used { is_listed, calls });
}
