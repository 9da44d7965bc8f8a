//! The form of a backup: every byte counts.

use super::{BackupError, Entry, Header, MAGIC, SEAL, hex, known, make, make::Copy, read::Backup};
use plexus_ledger::{Lane, Options};
use plexus_protocol::Timestamp;
use plexus_record::Trust;
use plexus_trust::Command;
use sha2::{Digest as _, Sha256};
use std::{fs, path::Path, sync::Arc};

/// A state directory with a ledger, a key and a secret.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    make_home(home.path());
    home
}

fn make_home(home: &Path) {
    let options = Options {
        ballast: 0,
        ..Options::new(Arc::new(|| 1_700_000_000_000))
    };
    let (ledger, _) = plexus_ledger::Ledger::<Trust>::open(home, options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(ledger.submit(Command::Launch, Lane::Owner))
        .unwrap();
    assert!(ledger.close());
    for folder in ["secrets", "agents"] {
        fs::create_dir(home.join(folder)).unwrap();
    }
    fs::write(home.join("connection-key"), "the key").unwrap();
    fs::write(home.join("secrets/mail"), "a password").unwrap();
    // Every name that the owner can give one.
    fs::write(home.join("secrets/my mail (älter)"), "another").unwrap();
    fs::write(home.join("agents/a.pat"), "a credential").unwrap();
    for (file, text) in [
        ("workers/talk/agents/pat-1/private_key.pem", "an identity"),
        ("workers/talk/agents/pat-1/chains/one.json", "a chain"),
        ("workers/talk/agents/pat-1/lock", "a lock"),
        ("workers/notes/changes/agents/deep/file", "a before-image"),
        ("workers/notes/runs/agents.json", "a run"),
    ] {
        let path = home.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn backed_up(home: &Path, secrets: bool, to: &Path) -> Result<make::BackupSummary, BackupError> {
    make::write(home, &Copy::at_rest(home)?, secrets, to)
}

#[test]
fn a_backup_holds_no_credential_unless_asked_and_never_a_pat() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let all = ["ledger.redb", "audit-heads.jsonl", "connection-key"];
    let secrets = ["secrets/mail", "secrets/my mail (älter)"];
    let identity = [
        "workers/talk/agents/pat-1/chains/one.json",
        "workers/talk/agents/pat-1/private_key.pem",
    ];
    let all = [&all[..], &secrets, &identity].concat();
    for (secrets, expected) in [(false, all[..2].to_vec()), (true, all)] {
        let file = out.path().join(format!("{secrets}"));
        backed_up(home.path(), secrets, &file).unwrap();
        let backup = Backup::open(&file).unwrap();
        assert!(backup.header.files.iter().map(|f| &*f.name).eq(expected));
        let bytes = fs::read(&file).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        for credential in ["the key", "a password", "an identity", "a chain"] {
            assert_eq!(holds(credential), secrets, "{credential}");
        }
        for never in ["a credential", "a lock", "a before-image", "a run"] {
            assert!(!holds(never), "{never}");
        }
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    let copies = home.path().join(make::COPIES).read_dir();
    assert_eq!(copies.map_or(0, Iterator::count), 0);
    let again = backed_up(home.path(), false, &out.path().join("false"));
    assert!(matches!(again, Err(BackupError::Exists(_))));
    for (to, words) in [
        ("none/file", "/none: No such file"),
        ("false/file", "/false: not a directory"),
    ] {
        let astray = backed_up(home.path(), false, &out.path().join(to));
        let why = astray.err().unwrap().to_string();
        assert!(
            why.contains(words) && !why.contains(".plexus-backup"),
            "{why}"
        );
    }
    // The system makes no file there, for root neither.
    let astray = backed_up(home.path(), false, "/proc/backup".as_ref());
    let why = astray.err().unwrap().to_string();
    assert!(
        why.starts_with("/proc: ") && !why.contains(".plexus-backup"),
        "{why}"
    );
}

/// A worker writes them while a backup is made, and may write what is none.
#[test]
fn identities_are_bounded_and_only_looked_for_with_secrets() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let large = home.path().join("workers/talk/agents/pat-1/large");
    let file = fs::File::create(&large).unwrap();
    file.set_len(super::IDENTITY_MOST + 1).unwrap();
    backed_up(home.path(), false, &out.path().join("without")).unwrap();
    let refused = backed_up(home.path(), true, &out.path().join("with"));
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("pat-1/large: it is too large"), "{why}");
    assert!(!out.path().join("with").exists());
    file.set_len(super::IDENTITY_MOST).unwrap();
    backed_up(home.path(), true, &out.path().join("with")).expect("the control");
}

/// Called sound, it would be a backup of what a power cut takes away.
#[test]
fn a_ledger_that_may_be_on_no_disk_is_not_backed_up_at_rest() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let mark = home.path().join("ledger.unsure");
    fs::write(&mark, "").unwrap();
    let file = out.path().join("backup");
    let error = backed_up(home.path(), true, &file).err().unwrap();
    assert_eq!(error.code(), "ledger_unsure");
    assert!(error.next().contains("plexusctl service start"));
    assert!(!file.exists());
    fs::remove_file(&mark).unwrap();
    backed_up(home.path(), true, &file).expect("the control");
}

/// What `key rotate` and the owner's other commands may do between the header and what it is about.
#[test]
fn a_file_that_is_replaced_while_a_backup_is_made_is_in_it_as_it_was() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let copy = Copy::at_rest(home.path()).unwrap();
    let prepared = make::prepare(home.path(), &copy, true).unwrap();
    let key = home.path().join("connection-key");
    fs::write(home.path().join("fresh"), "new key").unwrap();
    fs::rename(home.path().join("fresh"), &key).unwrap();
    fs::remove_file(home.path().join("secrets/mail")).unwrap();
    let file = out.path().join("backup");
    prepared.seal(&file).unwrap();
    let restored = out.path().join("restored");
    Backup::open(&file).unwrap().unpack(&restored).unwrap();
    let read = |name: &str| fs::read_to_string(restored.join(name)).unwrap();
    assert_eq!(read("connection-key"), "the key");
    assert_eq!(read("secrets/mail"), "a password");
}

#[test]
fn a_backup_that_was_cut_lengthened_or_changed_anywhere_is_refused() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let file = out.path().join("backup");
    backed_up(home.path(), true, &file).unwrap();
    let whole = fs::read(&file).unwrap();
    let bad = out.path().join("bad");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).unwrap();
        let opened = Backup::open(&bad);
        assert!(matches!(opened, Err(BackupError::Torn { .. })), "{what}");
    };
    for cut in [0, 5, 20, 200, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..cut], &format!("cut at {cut}"));
    }
    refused(&[&whole[..], b"x"].concat(), "lengthened");
    let end = whole.len();
    for at in [3, 40, 300, end / 2, end - 80, end - 2] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        refused(&changed, &format!("changed at {at}"));
    }
    fs::write(&bad, &whole).unwrap();
    assert!(Backup::open(&bad).is_ok(), "the control");
    // Only root can give a file away.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&bad, Some(65_534), None).unwrap();
        let opened = Backup::open(&bad);
        let is_refused = matches!(opened, Err(BackupError::Foreign { uid: 65_534, .. }));
        assert!(is_refused, "{opened:?}");
    }
    // Nothing lies at the first address: what cannot be read is not called torn.
    if cfg!(target_os = "linux") {
        let unread = Backup::open(Path::new("/proc/self/mem"));
        assert!(matches!(unread, Err(BackupError::Io { .. })), "{unread:?}");
    }
}

/// The seal has no key: a backup that is written by hand can have one that fits.
#[test]
fn header_is_checked_under_a_seal_that_fits() {
    let out = tempfile::tempdir().unwrap();
    let sealed = |secrets: bool, files: &[(&str, &str)]| {
        let entry = |(name, content): &(&str, &str)| Entry {
            name: (*name).to_owned(),
            bytes: content.len() as u64,
            sha256: hex(&Sha256::digest("content")),
        };
        let header = Header {
            made_at: Timestamp(0),
            version: "0".to_owned(),
            sequence: 1,
            head: String::new(),
            secrets,
            files: files.iter().map(entry).collect(),
        };
        let mut text = format!("{MAGIC}{}\n", serde_json::to_string(&header).unwrap());
        text.extend(files.iter().map(|(_, content)| *content));
        let seal = hex(&Sha256::digest(&text));
        let file = out.path().join("backup");
        fs::write(&file, format!("{text}{SEAL}{seal}\n")).unwrap();
        Backup::open(&file)
    };
    let ledger = ("ledger.redb", "content");
    let mail = ("secrets/mail", "content");
    #[rustfmt::skip]
    let rows = [
        (false, &[ledger, ("../ledger.redb", "content")][..], "names a file that no backup holds"),
        (false, &[ledger, ledger], "names a file that no backup holds"),
        (false, &[ledger, mail], "holds credentials and does not say so"),
        (true, &[mail], "there is no ledger in it"),
    ];
    for (secrets, files, why) in rows {
        let refused = sealed(secrets, files).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let restored = out.path().join("restored");
    let whole = sealed(true, &[ledger, mail]).expect("the control");
    whole.unpack(&restored).expect("the control");
    let read = |name: &str| fs::read_to_string(restored.join(name)).unwrap();
    assert_eq!(
        (read("ledger.redb"), read("secrets/mail")),
        ("content".into(), "content".into())
    );
    let other = sealed(false, &[("ledger.redb", "another")]).expect("its length is the header's");
    let refused = other.unpack(&out.path().join("other")).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("ledger.redb is not what its header says"),
        "{refused}"
    );
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    for good in "ledger.redb|secrets/mail|secrets/my mail|agents/my-cc.installed.json".split('|') {
        assert!(known(good), "{good}");
    }
    let bad = "|/etc/passwd|../ledger.redb|secrets/../x|secrets/|secrets/.x|secrets/a/b|\
        secrets/a\\b|secrets/a\nb|agents/a.pat|runtime.json|run/owner/owner.sock";
    for bad in bad.split('|') {
        assert!(!known(bad), "{bad}");
    }
}

#[test]
fn only_a_copy_of_the_daemons_is_taken_over_and_removed() {
    let (home, documents) = (home(), tempfile::tempdir().unwrap());
    let copy = Copy::at_rest(home.path()).unwrap().keep();
    for folder in [
        documents.path(),
        home.path(),
        &home.path().join(make::COPIES),
        &home.path().join("secrets"),
    ] {
        let refused = Copy::made(home.path(), folder).map(drop).unwrap_err();
        let why = format!("{} is no copy of this ledger", folder.display());
        assert_eq!(refused.to_string(), why);
        assert!(folder.is_dir());
    }
    drop(Copy::made(home.path(), &copy).unwrap());
    assert!(!copy.exists());
}

/// What an interrupted backup leaves: nobody comes for it, and the next one may be a day later.
#[test]
fn a_copy_that_nobody_came_for_goes_with_the_next_backup() {
    let home = home();
    let copy = |age: u64| {
        let folder = Copy::at_rest(home.path()).unwrap().keep();
        let then = std::time::SystemTime::now() - std::time::Duration::from_hours(age);
        fs::File::open(&folder).unwrap().set_modified(then).unwrap();
        folder
    };
    let (young, old) = (copy(23), copy(25));
    drop(Copy::at_rest(home.path()).unwrap());
    assert_eq!((young.exists(), old.exists()), (true, false));
}

/// Archives on another file system are links in a copy.
#[test]
fn what_a_copy_links_to_is_in_the_backup_if_it_is_a_file_of_ours() {
    let (home, out) = (home(), tempfile::tempdir().unwrap());
    let folder = Copy::at_rest(home.path()).unwrap().keep();
    let (inside, outside) = (folder.join("audit-heads.jsonl"), out.path().join("heads"));
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let copy = Copy::made(home.path(), &folder).unwrap();
    let file = out.path().join("backup");
    make::write(home.path(), &copy, false, &file).unwrap();
    let restored = out.path().join("restored");
    Backup::open(&file).unwrap().unpack(&restored).unwrap();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(text(&restored.join("audit-heads.jsonl")), text(&outside));
    fs::remove_file(&outside).unwrap();
    std::os::unix::fs::symlink("/dev/null", &outside).unwrap();
    let none = out.path().join("none");
    let refused = make::write(home.path(), &copy, false, &none).map(drop);
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("audit-heads.jsonl"), "{why}");
}

#[test]
#[cfg(target_os = "linux")]
fn backup_survives_a_power_cut() {
    let before = |top: &Path| {
        fs::create_dir(top.join("home")).unwrap();
        make_home(&top.join("home"));
    };
    let file = |top: &Path| top.join("backup");
    let act = |disk: &plexus_power_cut::Disk, ()| {
        let home = disk.path().join("home");
        backed_up(&home, true, &file(&disk.path())).unwrap();
    };
    let done = |top: &Path| Backup::open(&file(top)).is_ok();
    // The file and its name; the copy that it is made from may go.
    let (lost, syncs) = plexus_power_cut::needed(before, act, done);
    assert_eq!(lost, [syncs - 1, syncs]);
}

/// Both states: the one that was restored, and the one that it was put in the place of.
#[test]
#[cfg(target_os = "linux")]
fn restored_state_survives_a_power_cut() {
    let before = |top: &Path| {
        for home in ["made", "home"] {
            fs::create_dir(top.join(home)).unwrap();
            make_home(&top.join(home));
        }
        fs::write(top.join("made/secrets/mail"), "restored").unwrap();
        backed_up(&top.join("made"), true, &top.join("backup")).unwrap();
        fs::remove_dir_all(top.join("made")).unwrap();
    };
    let act = |disk: &plexus_power_cut::Disk, ()| {
        let top = disk.path();
        super::restore::run(&top.join("backup"), &top.join("home"), true).unwrap();
    };
    let secret = |home: &Path| fs::read_to_string(home.join("secrets/mail")).unwrap_or_default();
    let done = |top: &Path| {
        let homes = fs::read_dir(top)
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let aside: Vec<_> = homes
            .filter(|home| home.to_string_lossy().contains("home.before-"))
            .collect();
        let ledger = top.join("home/ledger.redb");
        let whole = plexus_ledger::verify_file::<Trust>(&ledger, None).is_ok();
        let kept = aside.len() == 1 && secret(&aside[0]) == "a password";
        whole && kept && secret(&top.join("home")) == "restored"
    };
    let disk = plexus_power_cut::Disk::new();
    before(&disk.path());
    disk.sync();
    act(&disk, ());
    disk.cut();
    assert!(done(&disk.path()));
}
