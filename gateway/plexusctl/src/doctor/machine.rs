//! The machine: ports, clock, limits, what the kernel can do.

use super::{Doctor, Finding, gateway::Daemon};
use crate::service;
use nix::sys::resource::{Resource, getrlimit};
use plexus_client::{shell, span};
use plexus_owner::troubles;
use plexus_protocol::{DEFAULT_PORT, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    path::Path,
};

/// Descriptors that a gateway with a few sources and a crowd at its door needs.
const DESCRIPTORS: u64 = 1_024;
/// How far the daemon's mark may be ahead of clock and records before a start is refused (`plexusd`'s `clock.rs`).
const AHEAD: u64 = 86_400_000;
/// How far the clock may be behind the newest record before it is said, in milliseconds.
const BEHIND: u64 = 60_000;

pub(super) fn look(
    home: &Path,
    doctor: &Doctor,
    daemon: &Daemon,
    examined: Option<&Value>,
) -> Vec<Finding> {
    let last = last_port(home);
    let running = daemon.port().or(last.filter(|_| daemon.serves));
    let port = doctor.port.or(running).or(last).unwrap_or(DEFAULT_PORT);
    let mut findings = Vec::new();
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        findings.push(port_of(address, port, running == Some(port)));
    }
    let latest = daemon
        .latest
        .or_else(|| serde_json::from_value(examined?["ledger"]["latest"].clone()).ok());
    let now = span::machine_now();
    findings.push(clock(latest, now));
    let mark = std::fs::read_to_string(home.join("clock.json"));
    let mark = mark.ok().and_then(|text| marked(&text));
    findings.extend(mark.and_then(|at| ahead(home, at, latest, now)));
    findings.push(descriptors(service::is_installed()));
    if let Some(seen) = examined {
        findings.push(kernel(&seen["kernel"]));
    }
    findings
}

/// The event of the log by which a gateway says that it serves.
const SERVING: &str = r#""daemon.serving""#;

/// The part of `runtime.json`, or of that event, that says where the gateway listens.
#[derive(Deserialize)]
struct RuntimeNote {
    port: u16,
}

/// The port of a gateway that does not answer: where it left word of it, and after a clean stop as its log has it.
fn last_port(home: &Path) -> Option<u16> {
    let left = std::fs::read_to_string(home.join("runtime.json")).ok();
    let left = left.and_then(|text| serde_json::from_str(&text).ok());
    let note: RuntimeNote = left.or_else(|| {
        let log = std::fs::read_to_string(home.join("logs/plexusd.log")).ok()?;
        let mut served = log.lines().rev().filter(|line| line.contains(SERVING));
        served.find_map(|line| serde_json::from_str(line).ok())
    })?;
    Some(note.port)
}

fn port_of(address: IpAddr, port: u16, ours: bool) -> Finding {
    let named = match address {
        IpAddr::V4(_) => format!("port {port} on 127.0.0.1"),
        IpAddr::V6(_) => format!("port {port} on ::1"),
    };
    match TcpListener::bind((address, port)) {
        Ok(_) if ours => Finding::warn(
            "ports",
            format!("{named} is free although the gateway runs"),
            "plexusctl service restart",
        ),
        Ok(_) => Finding::ok("ports", format!("{named} is free")),
        Err(e) if e.kind() == ErrorKind::AddrInUse && ours => {
            Finding::ok("ports", format!("{named} is the gateway's"))
        }
        Err(e) if e.kind() == ErrorKind::AddrInUse => {
            let by = holder(port).map_or_else(String::new, |who| format!(" by {who}"));
            let remedy = format!("plexusd --port {}", free_beside(port));
            Finding::fail("ports", format!("{named} is taken{by}"), remedy)
        }
        // A machine without IPv6 has no such address, and the gateway skips it.
        Err(_) if address.is_ipv6() => Finding::ok("ports", "this machine has no ::1"),
        Err(e) => Finding::fail("ports", format!("{named}: {e}"), "ip address show lo"),
    }
}

/// The next port that is free now. Agents, browsers and tunnels expect the same one at each start, which 0 does not give.
fn free_beside(port: u16) -> u16 {
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let is_taken = |port, address| {
        let bound = TcpListener::bind((address, port));
        bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    };
    let is_free = |port: &u16| !addresses.iter().any(|address| is_taken(*port, *address));
    let above = port.saturating_add(1).max(1024)..=u16::MAX;
    above.chain(1024..port).find(is_free).unwrap_or(0)
}

/// The user and the inode of the socket that listens on a port, in a table of the system's.
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16) -> Option<(u32, String)> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // Local address, state (0A is LISTEN), user, inode.
        let listens = words.get(1)?.ends_with(&suffix) && *words.get(3)? == "0A";
        let user = words.get(7)?.parse().ok()?;
        listens.then(|| words.get(9).map(|inode| (user, (*inode).to_owned())))?
    })
}

/// The process that listens on a port, or of another user's program the user alone, since the system tells no more.
#[cfg(target_os = "linux")]
fn holder(port: u16) -> Option<String> {
    use std::fs;
    let mut tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter();
    let (user, inode) = tables.find_map(|file| {
        let table = fs::read_to_string(file).ok()?;
        listening(&table, port)
    })?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let process = processes.into_iter().find_map(|process| {
        // Not `self` and `thread-self`, which are this process by another name.
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let held = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let mut links = held.filter_map(|fd| fs::read_link(fd.path()).ok());
        links.any(|link| link.to_string_lossy() == wanted).then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        })
    });
    let is_other = user != nix::unistd::geteuid().as_raw();
    if process.is_none() && is_other {
        return Some(format!("a program of another user (uid {user})"));
    }
    process
}

/// macOS tells it by `lsof`.
#[cfg(not(target_os = "linux"))]
fn holder(port: u16) -> Option<String> {
    let asked = ["-nP", "-sTCP:LISTEN", "-Fpc", &format!("-iTCP:{port}")];
    let said = super::said(Path::new("/usr/sbin/lsof"), &asked, super::SAY_WITHIN).ok()?;
    let part = |mark: char| said.lines().find_map(|line| line.strip_prefix(mark));
    Some(format!("process {} ({})", part('p')?, part('c')?))
}

fn clock(latest: Option<Timestamp>, now: Timestamp) -> Finding {
    let remedy = match cfg!(target_os = "macos") {
        true => "sudo sntp -sS time.apple.com",
        false => "timedatectl set-ntp true",
    };
    match latest.map(|at| at.since(now)) {
        Some(behind) if behind > BEHIND => {
            let mut what = format!(
                "it is {} behind the newest record: windows and codes count from there",
                span::length(behind)
            );
            // No clock that is set right makes that good: the records stay where they are.
            if behind > AHEAD {
                what.push_str(
                    "; if it is right, it ran ahead once, and the log's times stay ahead: lengths hold, and a backup \
                     from before brings the right times back",
                );
            }
            Finding::warn("clock", what, remedy)
        }
        Some(_) => Finding::ok("clock", "not behind the newest record"),
        None => Finding::ok("clock", "there is no record to hold it against"),
    }
}

/// The moment in the daemon's mark.
fn marked(text: &str) -> Option<Timestamp> {
    let mark: Value = serde_json::from_str(text).ok()?;
    mark["at"].as_u64().map(Timestamp)
}

/// A mark that refuses a start. What the boot clock would add to it is left out: the daemon says the rest.
fn ahead(
    home: &Path,
    marked: Timestamp,
    latest: Option<Timestamp>,
    now: Timestamp,
) -> Option<Finding> {
    let known = latest.map_or(now, |latest| latest.max(now));
    let far = marked.since(known);
    (far > AHEAD).then(|| {
        let file = home.join("clock.json");
        let what = format!(
            "{} is {} ahead of this machine's clock and of every record: plexusd does not start, so that nothing ends by \
             it; set the clock right, or remove the file where the clock is right",
            file.display(),
            span::length(far)
        );
        let file = shell::quote(&file.to_string_lossy());
        Finding::fail("clock", what, format!("date; rm -i {file}"))
    })
}

fn descriptors(is_service: bool) -> Finding {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => limit(soft, is_service),
        Err(error) => Finding::warn("limits", format!("they are unknown: {error}"), "ulimit -a"),
    }
}

/// The limit of this shell, which a gateway has that is started by hand.
fn limit(soft: u64, is_service: bool) -> Finding {
    let what = format!("{soft} open files at once");
    match soft < DESCRIPTORS {
        true if is_service => Finding::ok(
            "limits",
            format!("{what} here; the service has its own limit"),
        ),
        true => Finding::warn("limits", what, "ulimit -n 4096"),
        false => Finding::ok("limits", what),
    }
}

fn kernel(seen: &Value) -> Finding {
    if seen["supported"] == true {
        let version = seen["version"].as_u64().unwrap_or(0);
        let mechanism = seen["mechanism"].as_str().unwrap_or("?");
        return Finding::ok(
            "kernel",
            format!("workers can be caged: {mechanism}, version {version}"),
        );
    }
    Finding::of("kernel", troubles::uncaged(seen["reason"].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use serde_json::json;

    #[test]
    fn port_of_a_gateway_that_is_gone_is_where_it_last_was() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(last_port(home.path()), None);
        let runtime = home.path().join("runtime.json");
        std::fs::write(&runtime, r#"{"port": 7171, "pid": 12}"#).unwrap();
        assert_eq!(last_port(home.path()), Some(7171));
        std::fs::write(&runtime, "{").unwrap();
        assert_eq!(last_port(home.path()), None);
        std::fs::remove_file(&runtime).unwrap();
        std::fs::create_dir(home.path().join("logs")).unwrap();
        let lines = r#"{"event":"daemon.serving","port":7172,"message":"serving"}
            {"event":"daemon.serving","port":7173,"message":"serving"}
            {"event":"daemon.stopping","message":"stopping"}"#;
        std::fs::write(home.path().join("logs/plexusd.log"), lines).unwrap();
        assert_eq!(last_port(home.path()), Some(7173));
    }

    #[test]
    fn a_taken_port_is_named_with_who_holds_it() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let found = port_of(Ipv4Addr::LOCALHOST.into(), port, false);
        assert_eq!(found.level, Level::Fail);
        if cfg!(target_os = "linux") {
            let us = format!("process {}", std::process::id());
            assert!(found.what.contains(&us), "{found:?}");
        }
        let other = found.remedy.unwrap();
        let (_, other) = other.split_once("--port ").unwrap();
        assert!(other.parse::<u16>().unwrap() > port, "{other}");
        assert_eq!(
            port_of(Ipv4Addr::LOCALHOST.into(), port, true).level,
            Level::Ok
        );
        drop(held);
        assert_eq!(
            port_of(Ipv4Addr::LOCALHOST.into(), port, false).level,
            Level::Ok
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn user_of_a_listening_socket_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1BA5 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1001        0 71 1\n   \
                     1: 0100007F:1BA5 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 72 1\n";
        assert_eq!(listening(table, 7077), Some((1002, "72".to_owned())));
        assert_eq!(listening(table, 7078), None, "the control");
    }

    #[test]
    fn a_clock_that_is_behind_and_a_kernel_without_cages_are_named() {
        let at = |ms| Some(Timestamp(ms));
        assert_eq!(clock(at(7_200_000), Timestamp(0)).level, Level::Warn);
        assert_eq!(clock(at(1_000), Timestamp(0)).level, Level::Ok);
        let is_lasting = |ms| {
            clock(at(ms), Timestamp(0))
                .what
                .contains("it ran ahead once")
        };
        assert!(!is_lasting(7_200_000) && is_lasting(315_360_000_000));
        assert_eq!(clock(None, Timestamp(0)).level, Level::Ok);
        assert_eq!(limit(256, false).level, Level::Warn);
        // Its unit has the limit, and no command in a shell changes that.
        assert_eq!(limit(256, true).level, Level::Ok);
        assert_eq!(limit(1_024, false).level, Level::Ok);
        let none = json!({"supported": false, "reason": "Landlock is switched off"});
        assert!(kernel(&none).what.contains("switched off"));
        assert_eq!(
            kernel(&json!({"supported": true, "mechanism": "Seatbelt"})).level,
            Level::Ok
        );
    }
}
