//! The owner's settings: secrets, network, the thin runtime surface, and routes that exist for compatibility.

use crate::house::{House, report};
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{Gateway, not_run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

/// The addresses that have a listener on `port`, where the gateway `pid` lives: the kernel's word, not the gateway's.
#[cfg(target_os = "linux")]
fn listened_on(pid: u32, port: u16) -> BTreeSet<IpAddr> {
    const LISTEN: &str = "0A";
    // The kernel writes each four bytes of an address as a number of this machine.
    let number = |hex: &str| u32::from_str_radix(hex, 16).expect("a number");
    let address = |hex: &str| -> IpAddr {
        if hex.len() == 8 {
            return Ipv4Addr::from(number(hex).to_ne_bytes()).into();
        }
        let mut bytes = [0; 16];
        for (at, four) in bytes.chunks_mut(4).enumerate() {
            four.copy_from_slice(&number(&hex[at * 8..][..8]).to_ne_bytes());
        }
        Ipv6Addr::from(bytes).into()
    };
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    // A machine without IPv6 has one table.
    let tables = [
        table("tcp").expect("a table"),
        table("tcp6").unwrap_or_default(),
    ];
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let mut columns = row.split_whitespace().skip(1);
        let (host, of) = columns.next()?.split_once(':')?;
        let state = columns.nth(1)?;
        let ours = state == LISTEN && u16::from_str_radix(of, 16) == Ok(port);
        ours.then(|| address(host))
    })
    .collect()
}

/// What only the kernel of a Linux tells so simply.
#[cfg(not(target_os = "linux"))]
fn listened_on(_: u32, _: u16) -> BTreeSet<IpAddr> {
    BTreeSet::from([Ipv4Addr::LOCALHOST.into()])
}

#[test]
fn secrets_go_in_and_never_out() {
    let house = House::open();
    let owner = house.owner();
    let put = |name: &str, value: Value| {
        owner.post(
            &format!("/admin/api/secrets/{name}"),
            json!({"value": value}),
        )
    };
    for value in ["s3cret-one", "s3cret-two"] {
        assert_eq!(put("my-key", json!(value)).expect_ok()["name"], "my-key");
    }
    for bad in [json!(""), json!(5), json!(null)] {
        put("my-key", bad).expect_error(400, "internal_error");
    }
    for name in ["..%2Fx", ".hidden", "a%2Fb", "a%5Cb", "a%00b", "%2e%2e"] {
        put(name, json!("s")).expect_error(400, "internal_error");
    }
    owner
        .get("/admin/api/secrets/my-key")
        .expect_error(404, "unknown_capability");

    let file = house.gateway.state().join("secrets/my-key");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("the file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let log = house.gateway.cli(["audit", "export"]);
    assert!(!log.expect_ok().contains("s3cret"));
    assert!(!house.gateway.stderr().contains("s3cret"));
    assert!(!house.gateway.home().join("x").exists());
}

#[test]
fn the_network_is_loopback_unless_the_owner_says_otherwise() {
    let mut house = House::open();
    let first = IpAddr::from(Ipv4Addr::LOCALHOST);
    let loopback = BTreeSet::from([first, Ipv6Addr::LOCALHOST.into()]);
    let heard = |house: &House| listened_on(house.gateway.pid(), house.gateway.port());
    let at_first = heard(&house);
    assert!(at_first.contains(&first), "{at_first:?}");
    assert!(at_first.is_subset(&loopback), "{at_first:?}");
    let owner = house.owner();
    let network = owner.get("/admin/api/network").expect_ok();
    assert_eq!(network["boundPort"], house.gateway.port());
    let interfaces = owner.get("/admin/api/interfaces").expect_ok();
    assert!(
        interfaces["interfaces"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["internal"] == true))
    );
    let set = |body: Value| owner.post("/admin/api/network", body);
    assert_eq!(
        set(json!({"bindAddresses": ["127.0.0.1"]})).expect_ok()["restartRequired"],
        true
    );
    let named = set(json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": ["gw.example.com"]}))
        .expect_ok();
    assert_eq!(named["publicHostnames"], json!(["gw.example.com"]));
    assert_eq!(
        set(json!({"bindAddresses": []})).expect_ok()["bindAddresses"],
        json!(["127.0.0.1"])
    );
    for bad in [
        json!({}),
        json!({"bindAddresses": "127.0.0.1"}),
        json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": "x"}),
    ] {
        set(bad).expect_error(400, "internal_error");
    }
    for (bad, what) in [
        (json!({"bindAddresses": ["8.8.8.8"]}), "8.8.8.8"),
        (
            json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": ["http://x/"]}),
            "http://x/",
        ),
        (
            json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": ["1.2.3.4"]}),
            "1.2.3.4",
        ),
    ] {
        let reply = set(bad);
        reply.expect_error(400, "internal_error");
        assert!(
            reply
                .at("/rejected")
                .as_array()
                .is_some_and(|all| all.contains(&json!(what))),
            "{reply}"
        );
    }
    let test = "the_network_is_loopback_unless_the_owner_says_otherwise";
    if cfg!(not(target_os = "linux")) {
        return not_run::in_part(test, "which addresses are listened on is asked of Linux");
    }
    // The controls: the same look sees what is open to all, and where the owner did say otherwise.
    let open = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = open.local_addr().expect("an address").port();
    let seen = listened_on(house.gateway.pid(), port);
    assert_eq!(seen, BTreeSet::from([IpAddr::from(Ipv4Addr::UNSPECIFIED)]));
    let rows = interfaces["interfaces"].as_array().expect("rows");
    let beyond = rows
        .iter()
        .filter(|one| one["internal"] == false)
        .find_map(|one| one["address"].as_str()?.parse::<Ipv4Addr>().ok());
    let Some(address) = beyond else {
        return not_run::in_part(test, "this machine has no address beyond loopback");
    };
    set(json!({"bindAddresses": [address]})).expect_ok();
    assert_eq!(heard(&house), at_first, "it counts from the next start");
    house.gateway.restart();
    let mut wanted = at_first;
    wanted.insert(address.into());
    assert_eq!(heard(&house), wanted);
}

#[test]
fn the_runtime_surface() {
    let house = House::open();
    let (client, owner) = (house.gateway.client(), house.owner());
    assert_eq!(client.get("/v1/health").expect_ok(), json!({"ok": true}));
    let status = owner.get("/v1/status").expect_ok();
    assert_eq!(status["lraVersion"], "1.0");
    assert_eq!(status["protocolVersion"], "0.1");
    assert_eq!(status["port"], house.gateway.port());
    assert_eq!(status["pid"], house.gateway.pid());
    for name in ["sources", "capabilities", "grants", "pending", "sessions"] {
        assert!(status["counts"][name].is_u64(), "{name}: {status}");
    }
    // Without the key only versions (E12).
    let open = client.get("/v1/status").expect_ok();
    assert_eq!(open["lraVersion"], "1.0");
    let settings = client.get("/v1/config");
    for private in ["counts", "pid", "tokenLifetimeMs"] {
        assert_lacks(&open.to_string(), private);
        assert_lacks(&settings.text(), private);
    }
    let config = owner.get("/v1/config").expect_ok();
    assert_eq!(config["tokenLifetimeMs"], 900_000);
    assert_eq!(
        config["tokenLifetimeBounds"],
        json!({"minMs": 60_000, "maxMs": 3_600_000})
    );
    assert_eq!(config["maxTrustWindowMs"], 2_592_000_000_u64);
    client
        .put("/v1/config", json!({}))
        .expect_error(401, "unauthorized");
    owner.get("/v1/admin/api/pending").expect_ok();
    owner
        .get("/admin/api/no-such-route")
        .expect_error(404, "unknown_capability");
}

#[test]
fn the_ready_line_and_the_file_say_the_same() {
    let mut gateway = Gateway::start();
    let ready = gateway.ready().clone();
    assert_eq!(ready["pid"], gateway.pid());
    assert_eq!(ready["lraVersion"], "1.0");
    let file: Value = serde_json::from_str(&gateway.state_file("runtime.json")).expect("JSON");
    assert_eq!(file["port"], ready["port"]);
    assert!(gateway.stop().success());
    assert!(
        !gateway.state().join("runtime.json").exists(),
        "removed on a clean stop"
    );
}

#[test]
fn a_second_daemon_is_refused() {
    let gateway = Gateway::start();
    let said = Gateway::builder().refused(gateway.home());
    said.expect_status(1);
    assert!(said.all().contains("another plexusd runs"), "{said}");
    gateway.client().get("/v1/health").expect_ok();
}

#[test]
fn the_state_directory_is_the_owners() {
    use std::os::unix::fs::PermissionsExt;
    let mut house = House::open();
    house.reader("one").must("workspace.read", report());
    let mode = |name: &str| {
        let path = house.gateway.state().join(name);
        path.metadata()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .permissions()
            .mode()
            & 0o777
    };
    for folder in [
        "",
        "secrets",
        "pending",
        "run",
        "run/agent",
        "run/owner",
        "workers",
    ] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in ["connection-key", "ledger.redb", "runtime.json"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    let key = house.gateway.state().join("connection-key");
    assert!(house.gateway.stop().success());
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("a mode");
    house.gateway.start_again();
    let repaired = key.metadata().expect("the key").permissions().mode() & 0o777;
    assert_eq!(repaired, 0o600, "a wrong mode is repaired");
}

/// What is not built answers as an unknown route does, also for the owner.
#[test]
fn what_is_not_built_is_unknown_to_the_owner_too() {
    let house = House::open();
    let owner = house.owner();
    for path in ["mesh", "bundles"] {
        owner
            .get(&format!("/admin/api/{path}"))
            .expect_error(404, "unknown_capability");
    }
    for path in ["mesh/join-token", "bundles", "demo-workspace"] {
        owner
            .post(&format!("/admin/api/{path}"), json!({}))
            .expect_error(404, "unknown_capability");
    }
    owner.get("/admin/api/sources").expect_ok();

    // The catalogue has each capability that is built.
    let catalogue = owner.get("/admin/api/capabilities").expect_ok();
    let ids: Vec<&str> = list_of(&catalogue["entries"])
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    for id in [
        "obsidian.vault.read",
        "obsidian.vault.search",
        "obsidian.vault.how-to-cite",
        "workspace.list",
        "workspace.read",
        "workspace.write",
        "workspace.how-to-use",
    ] {
        assert!(ids.contains(&id), "{id} of {ids:?}");
    }
}

/// `0.0.0.0` takes loopback in: the kernel gives a port to one of the two only.
#[cfg(target_os = "linux")]
#[test]
fn every_address_is_listened_on_where_the_owner_says_so() {
    let mut house = House::open();
    let everywhere = json!({"bindAddresses": ["0.0.0.0"]});
    let owner = house.owner();
    owner.post("/admin/api/network", everywhere).expect_ok();
    house.gateway.restart();
    let seen = listened_on(house.gateway.pid(), house.gateway.port());
    assert!(
        seen.contains(&IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        "{seen:?}"
    );
    house.gateway.client().get("/v1/health").expect_ok();
}

/// What an owner types and does not get as typed is told in words, with what holds in its place.
#[test]
fn value_that_is_not_taken_is_told_at_the_terminal() {
    let house = House::open();
    let gateway = &house.gateway;
    let _ = gateway.agent("one");
    #[rustfmt::skip]
    let rows = [
        (
            "grants allow one workspace.write --window 400d",
            0,
            "one may use workspace.write for up to 30 days; ends in 30 days; 400 days was asked for: your setting maxTrustWindowMs",
        ),
        ("grants allow one workspace.read --window until-revoked", 0, "one may use workspace.read until you revoke it\n"),
        ("config set maxTrustWindowMs=1", 64, "write a length of 24 h or more, such as maxTrustWindowMs=30d"),
        ("config set maxTrustWindowMs=1d", 0, "86400000 (24 h)"),
        ("config set defaultTrustWindows.managed:write=1h", 0, "\ndefaultTrustWindows.managed:write  1h"),
        ("grants allow one workspace.write --window 7d", 0, "one may use workspace.write for up to 24 h; ends in 24 h"),
        (
            "sources add workspace-dir /etc/passwd --id etc",
            1,
            "stopped: value_not_allowed\ndone: nothing was done\nwhy: /etc/passwd is not a folder\nnext: correct",
        ),
        ("connect two --allow workspace.nothing", 1, "why: unknown capability id(s): workspace.nothing\nnext: "),
        (
            "connect two --allow notes.write",
            1,
            "why: unknown capability id(s): notes.write; did you mean workspace.write?\nnext: ",
        ),
        // A source that is there has it or not: no other one is suggested.
        ("connect two --allow workspace.vault.read", 1, "why: unknown capability id(s): workspace.vault.read\nnext: "),
        // What does not exist asks nobody: there is nothing to watch for.
        ("grants allow one workspace.raed --window 1h", 77, " status\n"),
        ("sources set workspace folder=/tmp", 64, "has no field \"folder\" (fields: path)\nnext: "),
    ];
    for (line, status, says) in rows {
        let said = gateway.cli(line.split(' '));
        assert_contains(&said.expect_status(status).all(), says);
    }
    // The control: a value that is taken is told without a note, and alone.
    let taken = gateway.cli(["config", "set", "maxTrustWindowMs=86400000"]);
    for other in ["note:", "defaultReach"] {
        assert_lacks(taken.expect_ok(), other);
    }
}
