//! Where a release is had from, and whether it is the one that was signed.
//!
//! Invariant: a sum beside a download vouches for nothing; only the key that lies in this install does.
//!
//! Must not know: TLS. `curl` has the machine's authorities, proxies and their settings.

use super::{MOST_PACKED, Release, kind, unusable};
use crate::installed::failed;
use minisign_verify::{PublicKey, Signature};
use plexus_client::{Exit, Stop, programs, text};
use plexus_protocol::installation::PUBLIC_KEY;
use semver::Version;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

/// The most bytes of a signature or of the sums.
const MOST_OF_A_TEXT: u64 = 64 << 10;

/// A tarball, or the folder that one lies in.
#[derive(Clone)]
pub(crate) enum Origin {
    Url(String),
    Path(PathBuf),
}

impl FromStr for Origin {
    type Err = std::convert::Infallible;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| address.starts_with(scheme));
        Ok(match is_url {
            true => Self::Url(address.trim_end_matches('/').to_owned()),
            false => Self::Path(address.strip_prefix("file://").unwrap_or(address).into()),
        })
    }
}

impl Origin {
    /// The release there, if the key under `prefix` signed it.
    pub(crate) fn release(&self, prefix: &Path) -> Result<Release, Stop> {
        let key = trusted_key(prefix)?;
        let tarball = match self.is_tarball() {
            true => self.clone(),
            false => self.newest()?,
        };
        let packed = tarball.read(MOST_PACKED)?;
        let signature = tarball.with(".minisig").read(MOST_OF_A_TEXT);
        let signature = signature.map_err(|stop| {
            let why = format!(
                "without a signature that can be had, nothing is installed: {}",
                stop.why
            );
            unusable(why)
        })?;
        check(&key, &packed, &signature)?;
        Release::of_tarball(&packed)
    }

    fn is_tarball(&self) -> bool {
        match self {
            Self::Url(url) => url.ends_with(".tar.gz"),
            Self::Path(path) => !path.is_dir(),
        }
    }

    /// The newest release for this kind of machine in this folder, as its sums name them.
    fn newest(&self) -> Result<Self, Stop> {
        let sums = self.with("/SHA256SUMS").read(MOST_OF_A_TEXT);
        let sums = sums.map_err(|stop| {
            let why = format!("{} is no folder of a release: {}", self.shown(), stop.why);
            Stop { why, ..stop }
        })?;
        let kind = kind();
        let newest = newest_of(&sums, &kind).ok_or_else(|| {
            unusable(format!(
                "there is no release for {kind} in {}",
                self.shown()
            ))
        })?;
        Ok(self.with(&format!("/plexus-{newest}-{kind}.tar.gz")))
    }

    /// With more at its end.
    fn with(&self, end: &str) -> Self {
        match self {
            Self::Url(url) => Self::Url(format!("{url}{end}")),
            Self::Path(path) => {
                let mut path = path.clone().into_os_string();
                path.push(end);
                Self::Path(path.into())
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Url(url) => text::line(url),
            Self::Path(path) => text::line(&path.to_string_lossy()),
        }
    }

    /// All of it, if that is at most `most` bytes.
    fn read(&self, most: u64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        match self {
            Self::Path(path) => {
                let file = fs::File::open(path).map_err(|e| {
                    failed(path, &e).next("check the path: a tarball of a release, or the folder that it lies in with its SHA256SUMS")
                })?;
                let read = file.take(most + 1).read_to_end(&mut bytes);
                read.map_err(|e| failed(path, &e))?;
            }
            Self::Url(url) => {
                let mut curl = curl(url)?;
                let read = match curl.stdout.take() {
                    Some(said) => said.take(most + 1).read_to_end(&mut bytes),
                    None => Ok(0),
                };
                // One that has more to say ends with that.
                let ended = curl.wait().map_err(|e| failed(Path::new("curl"), &e))?;
                let is_whole = read.is_ok() && (ended.success() || bytes.len() as u64 > most);
                if !is_whole {
                    let why = format!("{} cannot be downloaded; curl says why above", self.shown());
                    return Err(Stop::new(Exit::Failed, "download_failed", why)
                        .next("download the tarball and its .minisig by other means, then: plexusctl upgrade --from FILE"));
                }
            }
        }
        if bytes.len() as u64 > most {
            return Err(unusable(format!(
                "{} is too large to be a release's",
                self.shown()
            )));
        }
        Ok(bytes)
    }
}

/// The newest version for this kind of machine that sums name.
pub(super) fn newest_of(sums: &[u8], kind: &str) -> Option<Version> {
    let sums = String::from_utf8_lossy(sums);
    let end = format!("-{kind}.tar.gz");
    let names = sums
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    let versions = names.filter_map(|name| {
        let version = name.strip_prefix("plexus-")?.strip_suffix(&end)?;
        Version::parse(version).ok()
    });
    versions.max()
}

/// Begins a download. A server that sends less than 1 kB/s for half a minute is given up.
fn curl(url: &str) -> Result<std::process::Child, Stop> {
    let Some(program) = programs::of_the_system("curl") else {
        let why = "curl is not here, and this program downloads with it";
        return Err(Stop::new(Exit::Failed, "not_installed", why).next(
            "download the tarball and its .minisig by other means, then: plexusctl upgrade --from FILE",
        ));
    };
    let started = Command::new(&program)
        .args(["-fsSL", "--proto", "=http,https", "--connect-timeout", "20"])
        .args(["--speed-limit", "1024", "--speed-time", "30", "--", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    started.map_err(|e| failed(&program, &e))
}

/// The key that this install trusts.
fn trusted_key(prefix: &Path) -> Result<PublicKey, Stop> {
    let path = prefix.join(PUBLIC_KEY);
    let key = match fs::read_to_string(&path) {
        Ok(key) => PublicKey::decode(&key).ok(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(&path, &e)),
    };
    key.ok_or_else(|| {
        let why = format!(
            "{} holds no key to check a release by: this install is from a clone, or of a release that was not signed",
            path.display()
        );
        unusable(why).next("install the release with its install.sh; later ones then come by: plexusctl upgrade --from")
    })
}

/// Holds that `key` signed `packed`.
fn check(key: &PublicKey, packed: &[u8], signature: &[u8]) -> Result<(), Stop> {
    let is_signed = std::str::from_utf8(signature)
        .ok()
        .and_then(|text| Signature::decode(text).ok())
        .is_some_and(|signature| key.verify(packed, &signature, false).is_ok());
    match is_signed {
        true => Ok(()),
        false => Err(unusable(
            "the signature is not made with the key of this install for this tarball; nothing was installed".to_owned(),
        )
        .next("download both again; a release of somebody else installs with its own install.sh, in another --prefix")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by minisign 0.11 over `release\n`.
    const KEY: &str = "RWQ2ZeFPdnl0GO0xosBD0MX40rixAyrlazOINZlnUJO8ytU95BI7KT1H";
    const SIGNATURE: &str = "\
untrusted comment: signature from minisign secret key\n\
RUQ2ZeFPdnl0GOA/CuPIMfU3IwP1yep/XPsxxMttRnUFvoA3IJYq4VTxChLWiF5cK6pfYnXhir5n3IESi84gGGZEuzLMdGkSqQI=\n\
trusted comment: file:r\n\
/VIu4UkzKqM7NcKUO7BJFSdiUwcatSxK+oeBkQqd3sObjvcQtLjhqPEeZ3TehCy1wrdt66jQsOkt1zjkUMVpCg==\n";

    #[test]
    fn missing_file_names_what_to_give() {
        for missing in ["/nowhere/plexus.tar.gz", "/nowhere"] {
            let missing = Origin::from_str(missing).expect("a path");
            let stop = missing.read(1).expect_err("nothing is there");
            assert!(stop.next.starts_with("check the path"), "{stop}");
        }
    }

    #[test]
    fn one_other_byte_is_another_release() {
        let key = PublicKey::from_base64(KEY).expect("a key");
        let refused = |bytes: &[u8], signature: &[u8]| {
            let stop = check(&key, bytes, signature).expect_err("it is refused");
            assert_eq!(stop.code, "release_unusable");
        };
        check(&key, b"release\n", SIGNATURE.as_bytes()).expect("it is signed");
        refused(b"Release\n", SIGNATURE.as_bytes());
        refused(b"release\n", b"");
        refused(b"release\n", &[0xff; 300]);
        // Each character of it, the trusted comment included, but for the first line, which vouches for nothing.
        let first = SIGNATURE.find('\n').expect("a line") + 1;
        let counted = SIGNATURE.trim_end().len();
        for at in first..counted {
            let mut other = SIGNATURE.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            if other[at] != SIGNATURE.as_bytes()[at] {
                refused(b"release\n", &other);
            }
        }
    }

    #[test]
    fn newest_release_of_this_kind_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let origin = Origin::Path(folder.path().to_owned());
        let sums = |names: &[String]| {
            let lines: Vec<_> = names.iter().map(|name| format!("00  {name}\n")).collect();
            fs::write(folder.path().join("SHA256SUMS"), lines.concat()).expect("the sums");
        };
        let name = |version: &str| format!("plexus-{version}-{}.tar.gz", kind());
        sums(&[
            name("0.9.0"),
            name("0.10.0"),
            name("0.10.0-rc.1"),
            "plexus-9.0.0-vax.tar.gz".to_owned(),
            name("../../1"),
        ]);
        let newest = origin.newest().expect("one");
        assert!(
            newest.shown().ends_with(&name("0.10.0")),
            "{}",
            newest.shown()
        );
        sums(&["install.sh".to_owned()]);
        let none = origin.newest().map(|_| ()).expect_err("none of this kind");
        assert!(none.why.starts_with("there is no release for"), "{none:?}");
    }
}
