//! A release: what `cargo xtask dist` makes, as it comes to a person. Where it is had and checked is [`download`], where it
//! is put [`mod@place`].
//!
//! ```text
//! address ─curl or a file─▶ tarball, signature ─key of this install─▶ Release ─▶ staged beside ─▶ in place
//!                                                                                 └ the version before is kept
//! ```
//! Invariants: nothing of a tarball is looked at before its signature is the key's; of a release exactly what its own list
//! names is taken, below `bin`, `libexec` and `share`.

mod download;
mod place;

pub(crate) use download::Origin;
pub(crate) use place::{Place, Placed, kept, place, run as run_place};

use crate::installed::{self, LIST, List, failed};
use flate2::read::GzDecoder;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::Digest;
use semver::Version;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The most bytes of a tarball. One of a build without optimisation has 111 MB.
const MOST_PACKED: u64 = 256 << 20;
/// The most bytes that it unpacks to.
const MOST_UNPACKED: u64 = 1 << 30;
/// The folders that a release has files in.
const TOPS: [&str; 3] = ["bin", "libexec", "share"];

/// A whole release, in memory.
pub(crate) struct Release {
    pub(crate) version: Version,
    /// Without the list.
    files: Vec<File>,
}

/// One file of a release.
struct File {
    /// Below the prefix.
    path: PathBuf,
    bytes: Vec<u8>,
    sha256: String,
    is_program: bool,
}

/// The kind of machine that this program was built for, as releases are named.
fn kind() -> String {
    let system = match (cfg!(target_os = "macos"), cfg!(target_env = "musl")) {
        (true, _) => "apple-darwin",
        (false, true) => "unknown-linux-musl",
        (false, false) => "unknown-linux-gnu",
    };
    format!("{}-{system}", std::env::consts::ARCH)
}

impl Release {
    /// The release in a tarball whose signature was checked.
    fn of_tarball(packed: &[u8]) -> Result<Self, Stop> {
        Self::of_archive(GzDecoder::new(packed), &kind())
    }

    /// The release in an unpacked tarball, for this kind of machine.
    fn of_archive(unpacked: impl Read, kind: &str) -> Result<Self, Stop> {
        // A name may be as long as a file, and is read with its entry.
        let mut bounded = unpacked.take(MOST_UNPACKED);
        let read = Archive::read(&mut bounded);
        if bounded.limit() == 0 {
            return Err(broken("it is too large"));
        }
        let Archive { tops, mut files } = read?;
        let release = Self::listed(|path| Ok(files.remove(path)))?;
        let name = format!("plexus-{}-{kind}", release.version);
        if let Some(top) = tops.iter().find(|top| **top != *name) {
            let top = shown(Path::new(top));
            return Err(unusable(format!(
                "it is {top}, and this machine takes {name}"
            )));
        }
        if let Some(path) = files.keys().next() {
            return Err(broken(&format!("{} is not on its list", shown(path))));
        }
        Ok(release)
    }

    /// The release that lies in a folder: unpacked, or kept by an upgrade.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, Stop> {
        Self::listed(|path| {
            let path = folder.join(path);
            let mode = match fs::symlink_metadata(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                meta => meta.map_err(|e| failed(&path, &e))?.permissions().mode(),
            };
            let bytes = fs::read(&path).map_err(|e| failed(&path, &e))?;
            Ok(Some((bytes, mode & 0o100 != 0)))
        })
    }

    /// What a release's own list names, each file as the list says; `take` gives the bytes of a file, and whether it is a
    /// program.
    fn listed(
        mut take: impl FnMut(&Path) -> Result<Option<(Vec<u8>, bool)>, Stop>,
    ) -> Result<Self, Stop> {
        let list = take(Path::new(LIST))?.and_then(|(bytes, _)| List::parse(&bytes));
        let list = list.ok_or_else(|| {
            unusable("there is no release: it has no list that can be read".to_owned())
        })?;
        let version = Version::parse(&list.version)
            .map_err(|_| unusable(format!("{:?} is no version", text::line(&list.version))))?;
        let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
        for file in list.files {
            // An install that was cut off may have listed it twice.
            if !seen.insert((file.path.clone(), file.sha256.clone())) {
                continue;
            }
            // What an upgrade kept is no part of the version that it was kept by.
            if file.path.starts_with(place::KEPT) {
                continue;
            }
            let is_ours = TOPS.iter().any(|top| file.path.starts_with(top));
            let taken = take(&file.path)?
                .filter(|(bytes, _)| is_ours && Digest::of(bytes).to_string() == file.sha256);
            let Some((bytes, is_program)) = taken else {
                let path = shown(&file.path);
                return Err(unusable(format!(
                    "{path} is not as the release's list has it"
                )));
            };
            files.push(File {
                path: file.path,
                bytes,
                sha256: file.sha256,
                is_program,
            });
        }
        Ok(Self { version, files })
    }
}

/// The files of a tarball, before anything is known of its list.
#[derive(Default)]
struct Archive {
    /// The folders that its files lie in.
    tops: BTreeSet<OsString>,
    /// The bytes of each file below them, and whether it is a program.
    files: BTreeMap<PathBuf, (Vec<u8>, bool)>,
}

impl Archive {
    fn read(unpacked: impl Read) -> Result<Self, Stop> {
        let io = |error: io::Error| broken(&text::line(&error.to_string()));
        let mut archive = tar::Archive::new(unpacked);
        let mut read = Self::default();
        for entry in archive.entries().map_err(io)? {
            let mut entry = entry.map_err(io)?;
            let path = entry.path().map_err(io)?.into_owned();
            let mut parts = path.components();
            let top = parts.next().map(|top| top.as_os_str().to_owned());
            let below = parts.as_path();
            let is_file = entry.header().entry_type().is_file();
            if !is_file || !installed::is_inside(&path) || !installed::is_inside(below) {
                return Err(broken(&format!("it holds {}", shown(&path))));
            }
            let mode = entry.header().mode().map_err(io)?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(io)?;
            read.tops.extend(top);
            let file = (bytes, mode & 0o100 != 0);
            if read.files.insert(below.to_owned(), file).is_some() {
                return Err(broken(&format!("it holds {} twice", shown(&path))));
            }
        }
        Ok(read)
    }
}

fn shown(path: &Path) -> String {
    text::line(&path.to_string_lossy())
}

fn broken(why: &str) -> Stop {
    unusable(format!("the tarball is not a whole release: {why}"))
}

/// A release that is not taken; nothing was changed.
fn unusable(why: String) -> Stop {
    Stop::new(Exit::Refused, "release_unusable", why)
}

#[cfg(test)]
mod oracles;
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::installed::ListedFile;
    use std::io::Write as _;

    /// A tarball of a release with these files beside its list.
    pub(crate) fn tarball(
        version: &str,
        top: &str,
        files: &[(&str, &str)],
        listed: usize,
    ) -> Vec<u8> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        let of_list = files[..listed].iter().map(|(path, text)| ListedFile {
            path: path.into(),
            sha256: Digest::of(text.as_bytes()).to_string(),
        });
        let list = List::new(version, Vec::new(), of_list.collect());
        let list = String::from_utf8(list.bytes().expect("bytes")).expect("text");
        for (path, text) in files.iter().chain([&(LIST, list.as_str())]) {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(if path.starts_with("bin") {
                0o4755
            } else {
                0o644
            });
            tar.append_data(&mut header, format!("{top}/{path}"), text.as_bytes())
                .expect("it is packed");
        }
        let mut gzip = tar.into_inner().expect("it is packed");
        gzip.flush().expect("it is packed");
        gzip.finish().expect("it is packed")
    }

    #[test]
    fn release_is_exactly_what_its_list_names() {
        let top = format!("plexus-1.2.3-{}", kind());
        let files = [
            ("bin/plexusctl", "program"),
            ("share/x", "text"),
            ("share/y", "more"),
        ];
        let release = Release::of_tarball(&tarball("1.2.3", &top, &files, 3)).expect("a release");
        assert_eq!(release.version, Version::new(1, 2, 3));
        let programs = release.files.iter().map(|file| file.is_program);
        assert_eq!(programs.collect::<Vec<_>>(), [true, false, false]);
        let refused = |packed: &[u8], word: &str| {
            let stop = Release::of_tarball(packed).err().expect("it is refused");
            assert!(stop.why.contains(word), "{word}: {}", stop.why);
        };
        refused(
            &tarball("1.2.3", &top, &files, 2),
            "share/y is not on its list",
        );
        refused(
            &tarball("1.2.3", "plexus-1.2.3-vax", &files, 3),
            "this machine takes",
        );
        refused(&tarball("one", &top, &files, 3), "no version");
        refused(&tarball("1.2.3", &top, &[(".bashrc", "")], 1), ".bashrc");
        let twice = [("bin/x", "one"), ("bin/x", "other")];
        refused(&tarball("1.2.3", &top, &twice, 1), "bin/x twice");
        let whole = tarball("1.2.3", &top, &files, 3);
        refused(&whole[..whole.len() / 2], "");
        refused(b"", "");
    }
}
