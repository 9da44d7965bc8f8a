//! A release as a person meets it: made by `cargo xtask dist`, offered by a web server, installed by its own install.sh in an
//! account without a compiler, upgraded, taken back.

mod offer;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use offer::{Account, Offer};
use plexus_tests::editions::{self, BUILD};
use plexus_tests::small_disk::SmallDisk;
use plexus_tests::terminal::Terminal;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::{PATIENCE, ended, until, until_true, within};
use plexus_tests::{Folder, Gateway};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the way from the script to an approved write may take.
const A_MINUTE: Duration = Duration::from_secs(60);

#[test]
fn release_installs_to_an_approved_write_and_upgrades_and_returns() {
    let offer = Offer::whole(BUILD);
    let web = offer.serve();
    let account = Account::new();
    for compiler in ["cc", "gcc", "ld", "cargo", "rustc"] {
        assert!(!account.programs().join(compiler).exists(), "{compiler}");
    }

    let began = Instant::now();
    let said = account.install(&offer, &["--from", &web.address]);
    assert_contains(said.expect_ok(), "SHA-256, and the signature with OpenSSL");
    let prefix = account.prefix();
    let bin = |name: &str| prefix.join("bin").join(name);
    let path = account.programs().display().to_string();
    let mut gateway = Gateway::builder()
        .programs(&prefix.join("bin"))
        .env("PATH", &path)
        .start();
    let state = gateway.state().display().to_string();
    let owner = |line: &[&str]| {
        let by = ["--home", &state, "--i-am-the-owner"];
        account.command(&bin("plexusctl"), &[&by[..], line].concat())
    };
    let agent =
        |line: &[&str]| account.command(&bin("plexus"), &[&["--home", &state], line].concat());
    let folder = Folder::empty();
    let shared = folder.path().display().to_string();
    let added = owner(&["sources", "add", "workspace-dir", &shared, "--id", "desk"]);
    assert_contains(added.expect_ok(), "serves");
    let connected = owner(&["--json", "connect", "first", "--allow", "desk.read"]).json();
    agent(&["enroll", connected["code"].as_str().expect("a code")]).expect_ok();
    let write = [
        "desk.write",
        "path=hello.md",
        "content=Hello",
        "--wait",
        "0",
    ];
    agent(&write).expect_status(75);
    let card = until("the card", || {
        let waiting = owner(&["--json", "approvals", "list"]).json();
        let card = waiting["pending"].get(0)?.clone();
        (card["asks"][0]["plan"] != "making").then_some(card)
    });
    let text = |member: &str| card[member].as_str().expect("a text").to_owned();
    let (item, digest) = (text("pendingId"), text("cardDigest"));
    owner(&["approvals", "approve", &item, "--card", &digest]).expect_ok();
    agent(&write).expect_ok();
    assert_eq!(folder.read("hello.md"), "Hello");
    let took = began.elapsed();
    assert!(took <= A_MINUTE, "{took:?}");

    // The next version comes by the key of this one, and the gateway changes over in its process.
    let later = Offer::whole(&editions::later());
    let build = |gateway: &Gateway| {
        let status = gateway.owner().get("/admin/api/status").expect_ok();
        status["build"].clone()
    };
    let pid = gateway.pid();
    let said = owner(&["upgrade", "--from", &later.folder()]);
    assert_contains(said.expect_ok(), "changed over from");
    assert_contains(&said.stderr, "is kept: plexusctl ");
    assert_eq!(
        (build(&gateway), gateway.pid()),
        (editions::later().into(), pid)
    );
    let older = owner(&["upgrade", "--from", &offer.folder()]);
    assert_contains(&older.expect_status(77).stderr, "--downgrade");

    // Back needs a start: the later version wrote to the state.
    let back = owner(&["upgrade", "--back"]);
    assert_contains(back.expect_ok(), &format!("kill {pid}"));
    assert!(gateway.stop().success());
    gateway.start_again();
    assert_eq!(build(&gateway), BUILD);
    assert!(gateway.stop().success());
    owner(&["uninstall", "--yes"]).expect_ok();
    assert_eq!(account.tree(), [".local"]);
}

/// The script ends with `word`, and leaves nothing in the account.
#[track_caller]
fn refuses_to_install(account: &Account, offer: &Offer, word: &str) {
    let said = account.install(offer, &[]);
    assert_contains(&said.expect_status(1).stderr, word);
    assert_eq!(account.tree(), Vec::<String>::new());
}

/// The digests are checked on every machine, and the signature on one that can; the script says which.
#[test]
fn signature_is_checked_by_what_the_machine_has() {
    let offer = Offer::light(BUILD);
    let changed = offer.with_flipped(&offer.tarball());
    let forged = offer.forged();
    let unsent = offer.without(&format!("{}.minisig", offer.tarball()));
    let too_old = Account::with_checkers(&[]);
    too_old.script("openssl", "#!/bin/sh\necho 'OpenSSL 1.1.1w  11 Sep 2023'\n");
    let unchecked = "The signature is not checked: that takes minisign or OpenSSL 3";
    for (account, check) in [
        (
            Account::with_checkers(&["minisign"]),
            "the signature with minisign",
        ),
        (
            Account::with_checkers(&["openssl"]),
            "the signature with OpenSSL",
        ),
        (too_old, unchecked),
        (Account::with_checkers(&[]), unchecked),
    ] {
        refuses_to_install(&account, &changed, "SHA-256 is another");
        refuses_to_install(&account, &unsent, ".minisig cannot be had");
        if check != unchecked {
            refuses_to_install(&account, &forged, "not made with the key");
        }
        assert_contains(account.install(&offer, &[]).expect_ok(), check);
        assert!(account.prefix().join("bin/plexusctl").is_file(), "{check}");
    }
}

/// What is refused leaves the account as it was; the same without the change installs.
#[test]
fn changed_download_is_refused_and_leaves_no_trace() {
    let offer = Offer::light(BUILD);
    let account = Account::new();
    let refused = |with: &Offer, word: &str| refuses_to_install(&account, with, word);
    refused(&offer.with_flipped(&offer.tarball()), "SHA-256 is another");
    let signature = format!("{}.minisig", offer.tarball());
    refused(&offer.with_flipped(&signature), "SHA-256 is another");
    for digest in ["\nsha256='", "signature_sha256='"] {
        let other = offer.with_script(|script| {
            let at = script.find(digest).expect("the list") + digest.len();
            let other = if script.as_bytes()[at] == b'0' {
                "1"
            } else {
                "0"
            };
            script.replace_range(at..=at, other);
        });
        refused(&other, "SHA-256 is another");
    }
    // An attacker who changes the tarball and the script's list as well has not the key.
    refused(&offer.forged(), "not made with the key");
    refused(&offer.without(&offer.tarball()), "cannot be had");
    refused(&offer.for_glibc("2.99"), "glibc 2.99 or newer");
    refused(
        &offer.for_kind("vax-unknown-linux-gnu"),
        "this release is for vax",
    );

    let said = account.install(&offer, &[]);
    assert_contains(said.expect_ok(), "the signature with OpenSSL");
    let again = account.tree();
    account.install(&offer, &[]).expect_ok();
    assert_eq!(account.tree(), again);

    // An upgrade believes the key that came with the install, and no sum.
    let plexusctl = account.prefix().join("bin/plexusctl");
    let upgrade =
        |from: &str| account.command(&plexusctl, &["--i-am-the-owner", "upgrade", "--from", from]);
    let refuses = |from: &str, word: &str| {
        let said = upgrade(from);
        assert_contains(&said.expect_status(77).stderr, word);
        assert_eq!(account.tree(), again);
    };
    let later = Offer::light(&editions::later());
    refuses(
        &later.with_flipped(&later.tarball()).folder(),
        "not made with the key",
    );
    let signature = format!("{}.minisig", later.tarball());
    refuses(
        &later.with_flipped(&signature).folder(),
        "not made with the key",
    );
    refuses(&later.without(&signature).folder(), "without a signature");
    refuses(&later.signed_by_another().folder(), "not made with the key");
    let web = later.serve();
    let tarball = format!("{}/{}", web.address, later.tarball());
    assert_contains(upgrade(&tarball).expect_ok(), "no gateway runs");
    let back = account.command(&plexusctl, &["--i-am-the-owner", "upgrade", "--back"]);
    back.expect_ok();
    account
        .command(&plexusctl, &["uninstall", "--yes"])
        .expect_ok();
    assert_eq!(account.tree(), [".local"]);

    let unsigned = Offer::unsigned();
    assert_contains(account.install(&unsigned, &[]).expect_ok(), "is not signed");
    assert_contains(
        &upgrade(&later.folder()).expect_status(77).stderr,
        "holds no key",
    );
}

#[test]
fn installer_replaces_no_file_of_somebody_else() {
    let offer = Offer::light(BUILD);
    let account = Account::new();
    let prefix = account.home().join("a prefix with spaces, and 'quotes'");
    let at = prefix.display().to_string();
    fs::create_dir_all(prefix.join("bin")).expect("a folder");
    fs::write(prefix.join("bin/plexusd"), "of somebody else").expect("a file");
    let before = account.tree();
    let said = account.install(&offer, &["--prefix", &at]);
    assert_contains(&said.expect_status(77).stderr, "bin/plexusd");
    assert_eq!(account.tree(), before);
    fs::remove_file(prefix.join("bin/plexusd")).expect("it goes");
    let said = account.install(&offer, &["--prefix", &at]);
    // What it says to type can be typed.
    let line = said
        .expect_ok()
        .lines()
        .find(|line| line.ends_with(" uninstall"));
    let line = line.expect("the way back").trim();
    let dry = account.sh(&format!("{line} --dry-run"));
    assert_contains(dry.expect_ok(), "plexusd");
    account.sh(&format!("{line} --yes")).expect_ok();
    assert!(!prefix.join("libexec").exists());
}

/// A server that sends a part and then nothing; the person presses Ctrl-C.
#[test]
fn installer_that_is_interrupted_leaves_no_trace() {
    let offer = Offer::light(BUILD);
    let account = Account::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", server.local_addr().expect("an address"));
    let mut install = account.installing(&offer, &["--from", &address]);
    let mut child = install.process_group(0).spawn().expect("it starts");
    let accepted = within(PATIENCE, "a connection", move || server.accept());
    let (mut client, _) = accepted.expect("it connects");
    let mut asked = [0; 1024];
    let _ = client.read(&mut asked).expect("a request");
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).expect("a head");
    client.write_all(&[b'x'; 1000]).expect("a part");
    until_true("the download to be on the disk", || {
        account.tree().iter().any(|path| path.ends_with(".tar.gz"))
    });
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    killpg(group, Signal::SIGINT).expect("our child");
    assert_eq!(ended("the installer", &mut child).code(), Some(130));
    assert_eq!(account.tree(), Vec::<String>::new());
}

#[test]
fn installer_on_a_full_disk_leaves_no_trace() {
    let test = "releases::installer_on_a_full_disk_leaves_no_trace";
    let offer = Offer::light(BUILD);
    // Room for the tarball and a part of what is in it.
    let packed = fs::metadata(Path::new(&offer.folder()).join(offer.tarball()));
    let room = packed.expect("the tarball").len() * 2;
    SmallDisk::with(test, room, |disk| {
        let account = Account::at(disk.home());
        let said = account.install(&offer, &[]);
        assert_contains(&said.expect_status(1).stderr, "Nothing was installed");
        assert_lacks(&said.all(), "uninstall");
        assert_eq!(account.tree(), Vec::<String>::new());
    });
}

#[test]
fn installer_asks_first_and_refuses_root() {
    let offer = Offer::light(BUILD);
    let account = Account::new();
    let unasked = account.sh(&format!("sh '{}/install.sh' --root", offer.folder()));
    assert_contains(&unasked.expect_status(64).stderr, "add --yes");
    assert_contains(&unasked.stdout, "It replaces no file that is not of Plexus");
    if nix::unistd::geteuid().is_root() {
        let root = account.sh(&format!("sh '{}/install.sh' --yes", offer.folder()));
        assert_contains(&root.expect_status(64).stderr, "you are root");
    }
    assert_eq!(account.tree(), Vec::<String>::new());
    // The first half of the script, as a download that was cut would leave it, does nothing.
    let script = fs::read_to_string(Path::new(&offer.folder()).join("install.sh")).expect("it");
    let half = script.rfind("main \"$@\"").expect("its last line");
    fs::write(account.home().join("half.sh"), &script[..half]).expect("a file");
    assert_eq!(account.sh("sh half.sh --yes --root").expect_ok(), "");
    assert_eq!(account.tree(), ["half.sh"]);
}

/// The script asks a person at a terminal before the download, and plexusctl asks again before it installs the service.
#[test]
fn installer_offers_the_service_at_a_terminal() {
    let offer = Offer::light(BUILD);
    let account = Account::new();
    let install = |answers: &[(&str, &str)]| {
        let mut terminal = Terminal::start(&account.asking(&offer), 200, 150);
        for (question, answer) in answers {
            terminal.until_shows(question);
            terminal.keys(&format!("{answer}\r"));
        }
        (terminal.end().code(), terminal.picture())
    };
    let (first, service) = ("Go on? [y/N]", "go ahead? [y/N]");

    let (status, said) = install(&[(first, "n")]);
    assert_contains(&said, "nothing was installed");
    assert_eq!((status, account.tree()), (Some(77), Vec::new()));
    // Without a service manager Plexus is installed all the same.
    let (status, said) = install(&[(first, "y")]);
    assert_contains(&said, "it is not found by PATH");
    assert_contains(&said, "Add to your shell's start file:");
    assert_contains(&said, "start the gateway yourself: plexusd");
    assert_eq!(status, Some(0));
    let installed = account.tree();
    assert!(account.prefix().join("bin/plexusctl").is_file());

    account.script(
        "systemctl",
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> \"$0.asked\"\n",
    );
    let (status, said) = install(&[(first, "y"), (service, "n")]);
    assert_contains(&said, "you did not confirm");
    assert_eq!((status, account.tree()), (Some(0), installed));
    let (status, said) = install(&[(first, "y"), (service, "y")]);
    assert_contains(&said, "the gateway runs, and starts with your login");
    assert_eq!(status, Some(0));
    let unit = account.home().join(".config/systemd/user/plexusd.service");
    assert!(unit.is_file());
    let asked = account.programs().join("systemctl.asked");
    let asked = fs::read_to_string(asked).expect("it was asked");
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [
            "--user show --property=Version",
            "--user show --property=Version",
            "--user daemon-reload",
            "--user enable plexusd.service plexus-notify.service",
            "--user restart plexusd.service plexus-notify.service",
        ]
    );
}
