//! Any bytes as a backup: refused, or its files as its header says, below the folder that they are unpacked into.

use super::{MAGIC, SEAL, hex, known, read::Backup};
use plexus_mutation::{Accepted, hold};
use sha2::{Digest as _, Sha256};
use std::{fs, path::Path};

/// The bytes before the seal; their digest is made here, as only a torn file has another.
fn backup(bytes: &[u8]) -> Accepted {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, to) = (folder.path().join("backup"), folder.path().join("to"));
    let seal = format!("{SEAL}{}\n", hex(&Sha256::digest(bytes)));
    fs::write(&file, [bytes, seal.as_bytes()].concat()).expect("written");
    let Ok(backup) = Backup::open(&file) else {
        return false;
    };
    assert!(bytes.starts_with(MAGIC.as_bytes()));
    let files = backup.header.files.iter();
    let body: u64 = files.map(|file| file.bytes).sum();
    assert!(body < bytes.len() as u64);
    fs::create_dir(&to).expect("made");
    let unpacked = backup.unpack(&to);
    let mut names = Vec::new();
    below(&to, &to, &mut names);
    for name in &names {
        assert!(known(name), "{name}");
    }
    if unpacked.is_err() {
        return false;
    }
    let mut named: Vec<_> = backup.header.files.iter().map(|file| &*file.name).collect();
    named.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, named);
    for file in &backup.header.files {
        let content = fs::read(to.join(&file.name)).expect("it is there");
        assert_eq!(content.len() as u64, file.bytes);
        assert_eq!(hex(&Sha256::digest(&content)), file.sha256);
    }
    true
}

/// The files below `folder`, as they are named from `root`.
fn below(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            below(root, &path, names);
        } else {
            let name = path.strip_prefix(root).expect("below it");
            names.push(name.to_str().expect("as the header has it").to_owned());
        }
    }
}

#[test]
fn a_backup_is_whole_or_refused() {
    let words: &[&[u8]] = &[
        b"\"name\":\"../x\"",
        b"\"name\":\"/etc/x\"",
        b"\"name\":\"secrets/..\"",
        b"\"name\":\"secrets/a\"",
        b"\"name\":\"workers/a/agents/b/private_key.pem\"",
        b"\"name\":\"archive/audit-000000000001-000000000002-0123456789ab.log\"",
        b"\"bytes\":0",
        b"\"bytes\":18446744073709551615",
        b"\"secrets\":true",
        b"ledger.redb",
        b"\n",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracles-corpus");
    hold(corpus, words, backup);
}
