//! Any bytes as a release: refused, or the files that its own list names, each below the prefix; and as the sums beside it.

use super::{Release, TOPS, download::newest_of, place::KEPT};
use crate::installed::{LIST, is_inside};
use plexus_mutation::{Accepted, hold};
use plexus_protocol::Digest;
use std::{collections::BTreeSet, path::Path};

const KIND: &str = "x86_64-unknown-linux-gnu";
/// The unit of an archive, in bytes.
const BLOCK: usize = 512;

fn corpus(name: &str) -> String {
    format!(
        "{}/src/release/oracles-corpus/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// With the sum that each header needs: only a torn archive has another.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let (mut archive, mut at) = (bytes.to_vec(), 0_usize);
    while let Some(block) = archive.get_mut(at..at.saturating_add(BLOCK)) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(usize::MAX);
        let blocks = size.div_ceil(BLOCK).saturating_add(1);
        at = at.saturating_add(blocks.saturating_mul(BLOCK));
    }
    archive
}

fn archive(bytes: &[u8]) -> Accepted {
    let release = match Release::of_archive(&*summed(bytes), KIND) {
        Ok(release) => release,
        Err(stop) => {
            assert!(!stop.why.contains(char::is_control), "{:?}", stop.why);
            return false;
        }
    };
    let (mut paths, mut unpacked) = (BTreeSet::new(), 0);
    for file in &release.files {
        let path = &file.path;
        assert!(is_inside(path), "{path:?}");
        assert!(TOPS.iter().any(|top| path.starts_with(top)), "{path:?}");
        assert!(
            path != Path::new(LIST) && !path.starts_with(KEPT),
            "{path:?}"
        );
        assert!(paths.insert(path), "{path:?} is there once");
        assert_eq!(Digest::of(&file.bytes).to_string(), file.sha256);
        unpacked += file.bytes.len();
    }
    assert!(unpacked <= bytes.len());
    true
}

/// A version that is found makes the name of a file in this folder, which the sums have.
fn sums(bytes: &[u8]) -> Accepted {
    let Some(version) = newest_of(bytes, KIND) else {
        return false;
    };
    let name = format!("plexus-{version}-{KIND}.tar.gz");
    assert!(
        !name.contains(['/', '\\']) && !name.contains(".."),
        "{name}"
    );
    let text = String::from_utf8_lossy(bytes);
    assert!(text.split_whitespace().any(|word| word == name), "{name}");
    true
}

#[test]
fn archive_is_what_its_list_names() {
    let words: &[&[u8]] = &[
        b"plexus-1.2.3-x86_64-unknown-linux-gnu/",
        b"/../",
        b"/./",
        b"//",
        b"bin/plexusctl",
        b"libexec/plexus/installed.json",
        b"libexec/plexus/previous/",
        b"././@LongLink",
        b"ustar  \0",
        b"ustar\x0000",
        b"27 path=bin/../../../../x\n",
        b"19 size=99999999999\n",
        b"00000000000\0",
        b"77777777777\0",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\"format\":1",
        b"\"version\":\"9.9.9\"",
        b"\"path\":\"../x\"",
        b"\\u0000",
    ];
    hold(corpus("archives"), words, archive);
}

#[test]
fn sums_name_a_release_or_none() {
    let words: &[&[u8]] = &[
        b"\n",
        b"  ",
        b"plexus-",
        b"-x86_64-unknown-linux-gnu.tar.gz",
        b"../",
        b"-rc.1",
        b"+build",
        b"18446744073709551616",
    ];
    hold(corpus("sums"), words, sums);
}
