//! The gateway in the tray of the owner's desktop: `plexus-tray` on a real session bus, with the tests as its panel.

use crate::house::{House, WRITE, note};
use plexus_tests::desktop::{Appearance, Desktop, Item};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until;
use plexus_tests::{binaries, programs};
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const IDLE: &str = "Plexus: nothing needs you";

/// As the desktop starts it: no terminal, and nothing of a secret in its arguments.
fn tray(house: &House, desktop: &Desktop) -> Command {
    let mut command = programs::command(&binaries::path("plexus-tray"), house.gateway.home());
    command
        .env("DBUS_SESSION_BUS_ADDRESS", &desktop.address)
        .arg("--home")
        .arg(house.gateway.state());
    command
}

/// Ends what was started, by its own pid.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }
    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        until("its end", || self.0.try_wait().expect("our own child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn titled(desktop: &Desktop, item: &mut Item, title: &str) -> Appearance {
    desktop.until(item, title, |shown| shown.title == title)
}

#[test]
fn tray_shows_what_waits_and_pauses() {
    let mut house = House::open();
    let mut desktop = Desktop::start();
    let mut running = Running::start(tray(&house, &desktop));
    let mut item = desktop.item();
    let idle = titled(&desktop, &mut item, IDLE);
    assert!(!idle.needs_attention);
    assert_eq!(
        idle.labels(),
        [
            "Open the console",
            "Pause all agents",
            "Quit (the gateway goes on)"
        ]
    );
    assert_eq!(
        idle.pictures
            .iter()
            .map(|(width, height, bytes)| (*width, *height, bytes.len()))
            .collect::<Vec<_>>(),
        [(22, 22, 22 * 22 * 4), (44, 44, 44 * 44 * 4)]
    );

    // Nobody waits, one does, nobody does.
    let agent = house.gateway.agent("my_cc");
    let waits = agent.must_ask(WRITE, note("a.txt", "content of the note"));
    let one = titled(&desktop, &mut item, "Plexus: 1 request waits");
    assert!(one.needs_attention);
    assert_eq!(one.labels()[0], "my_cc: “Write a file”");
    assert_lacks(&format!("{one:?}"), "content of the note");
    assert!(
        one.labels().iter().all(|label| !label.contains("pprove")),
        "nothing is decided here: {one:?}"
    );
    house.owner().deny(&waits, "no");
    assert_eq!(titled(&desktop, &mut item, IDLE).pictures, idle.pictures);

    // What the menu pauses is paused for agents.
    let reader = house.reader("reader");
    let read = || reader.invoke("workspace.read", note_path("notes/today.md"));
    house.workspace.write("notes/today.md", "of today\n");
    read().expect_ok();
    desktop.choose(&mut item, "Pause all agents");
    let paused = titled(&desktop, &mut item, "Plexus is paused: no agent is served");
    assert_eq!(read().json()["error"]["code"], "paused");
    desktop.choose(&mut item, "Resume all agents");
    titled(&desktop, &mut item, IDLE);
    read().expect_ok();

    // It outlives the gateway, says that it is away.
    assert!(house.gateway.stop().success());
    let away = titled(&desktop, &mut item, "Plexus: no gateway answers");
    assert_eq!(away.labels(), ["Quit (the gateway goes on)"]);
    // Something that takes connections and answers nothing is tried once a second, with three connections at most; a look
    // and a try under way may add theirs, so ten of them take more than a second.
    let socket = house.gateway.state().join("run/owner/owner.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let began = Instant::now();
    for _ in 0..10 {
        drop(listener.accept().expect("a connection"));
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1), "10 connections in {took:?}");
    drop(listener);
    std::fs::remove_file(&socket).expect("our own socket");
    house.gateway.start_again();
    titled(&desktop, &mut item, IDLE);

    // Each state has a picture of its own.
    let pictures = [&idle, &one, &paused, &away].map(|shown| shown.pictures[0].2.clone());
    assert_eq!(BTreeSet::from(pictures).len(), 4);

    // A second one of the same state directory says so; quitting is quitting, and the gateway stays.
    let second = programs::run(tray(&house, &desktop));
    assert_contains(&second.expect_status(1).stderr, "already_runs");
    desktop.choose(&mut item, "Quit (the gateway goes on)");
    assert!(running.ended().success());
    house.gateway.cli(["status"]).expect_ok();
}

fn note_path(path: &str) -> serde_json::Value {
    serde_json::json!({ "path": path })
}

#[test]
fn tray_without_a_desktop_says_what_to_do() {
    let house = House::open();
    let mut desktop = Desktop::start();
    let mut nowhere = tray(&house, &desktop);
    nowhere.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let said = programs::run(nowhere);
    assert_contains(&said.expect_status(1).stderr, "no_session_bus");
    assert_contains(&said.stderr, "next: start it in your desktop's session");
    // A desktop that ends takes it along.
    let mut running = Running::start(tray(&house, &desktop));
    let mut item = desktop.item();
    titled(&desktop, &mut item, IDLE);
    let began = Instant::now();
    drop(desktop);
    assert_eq!(running.ended().code(), Some(1));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// A machine without a browser: what went wrong stands in the menu, and nothing else is the worse for it.
#[test]
fn tray_without_a_browser_says_so() {
    let house = House::open();
    let mut desktop = Desktop::start();
    let mut command = tray(&house, &desktop);
    command.env("PATH", "");
    let _running = Running::start(command);
    let mut item = desktop.item();
    titled(&desktop, &mut item, IDLE);
    desktop.choose(&mut item, "Open the console");
    let told = desktop.until(&mut item, "why", |shown| shown.lines.len() == 2);
    assert_contains(&told.lines[1], "no browser was opened: xdg-open");
    // The next thing that goes well takes its place.
    desktop.choose(&mut item, "Pause all agents");
    desktop.until(&mut item, "no trouble", |shown| shown.lines.len() == 1);
}

/// The gateway may come later than the tray.
#[test]
fn tray_waits_for_a_gateway_that_never_ran() {
    let house = House::open();
    let mut desktop = Desktop::start();
    let nothing = house.gateway.home().join("nothing-yet");
    let mut command = programs::command(&binaries::path("plexus-tray"), house.gateway.home());
    command
        .env("DBUS_SESSION_BUS_ADDRESS", &desktop.address)
        .arg("--home")
        .arg(&nothing);
    let _running = Running::start(command);
    let mut item = desktop.item();
    let away = desktop.until(&mut item, "why it is away", |shown| shown.lines.len() == 2);
    assert_eq!(away.title, "Plexus: no gateway answers");
    assert_contains(&away.lines[1], "no gateway has run with it");
}
