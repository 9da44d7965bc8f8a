//! Registries of packages on this machine, for what is installed by a lock file: any bodies by their paths, or the real npm
//! packages that the stories have, each as a tarball of its own.

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

/// Serves bodies by path, each with its type, until the process ends; `answers` is given the base too. Gives the base.
///
/// # Panics
/// When no loopback port is free.
pub fn serve(answers: impl Fn(&str, &str) -> (&'static str, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let own = base.clone();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = [0; 8192];
            let read = client.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let (kind, body) = answers(&own, head.split(' ').nth(1).unwrap_or_default());
            let length = body.len();
            drop(write!(
                client,
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            ));
            drop(client.write_all(&body));
        }
    });
    base
}

/// A version of an npm package.
struct Version {
    about: Value,
    tarball: Vec<u8>,
}

/// A registry with a reference server of the stories' packages and all that it needs. Gives its base.
///
/// # Panics
/// When the packages are not there.
#[must_use]
#[track_caller]
pub fn npm_with(server: &str) -> String {
    let (all, script) = crate::coding_agents::reference_server(server);
    let first = script.ancestors().nth(2).expect("its package").to_owned();
    let (mut found, mut left) = (BTreeMap::new(), vec![first]);
    while let Some(package) = left.pop() {
        let about = fs::read(package.join("package.json")).expect("a package");
        let about: Value = serde_json::from_slice(&about).expect("JSON");
        let needed = about["dependencies"].as_object().into_iter().flatten();
        left.extend(needed.map(|(name, _)| resolved(&package, &all, name)));
        let text = |member: &str| about[member].as_str().expect("a text").to_owned();
        let versions: &mut BTreeMap<_, _> = found.entry(text("name")).or_default();
        versions.entry(text("version")).or_insert_with(|| Version {
            tarball: packed(&package),
            about,
        });
        left.retain(|package| !is_known(&found, package));
    }
    serve(move |base, path| {
        let path = path.trim_start_matches('/').replace("%2f", "/");
        if let Some((name, version)) = path.rsplit_once("/-/") {
            let version = version.trim_end_matches(".tgz");
            return (
                "application/octet-stream",
                found[name][version].tarball.clone(),
            );
        }
        let versions = found.get(&path).into_iter().flatten();
        let versions: Vec<_> = versions.collect();
        let latest = versions.last().map(|(version, _)| (*version).clone());
        let shown = versions.into_iter().map(|(number, version)| {
            (
                number.clone(),
                of_registry(version, &format!("{base}/{path}/-/{number}.tgz")),
            )
        });
        let shown: serde_json::Map<_, _> = shown.collect();
        let document = json!({"name": path, "dist-tags": {"latest": latest}, "versions": shown});
        ("application/json", document.to_string().into_bytes())
    })
}

fn is_known(found: &BTreeMap<String, BTreeMap<String, Version>>, package: &Path) -> bool {
    let about = fs::read(package.join("package.json")).expect("a package");
    let about: Value = serde_json::from_slice(&about).expect("JSON");
    let text = |member: &str| about[member].as_str().unwrap_or_default();
    let versions = found.get(text("name"));
    versions.is_some_and(|versions| versions.contains_key(text("version")))
}

/// Where Node finds a package that another one needs.
fn resolved(from: &Path, all: &Path, name: &str) -> PathBuf {
    let places = from.ancestors().take_while(|place| place.starts_with(all));
    let mut places = places.map(|place| match place.ends_with("node_modules") {
        true => place.join(name),
        false => place.join("node_modules").join(name),
    });
    let found = places.find(|place| place.join("package.json").is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; type: cargo xtask agents"))
}

fn packed(package: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args([
        "-cz",
        "--exclude=./node_modules",
        "--transform=s,^\\.,package,",
    ]);
    let packed = tar.arg("-C").arg(package).arg(".").output().expect("tar");
    assert!(packed.status.success(), "{packed:?}");
    packed.stdout
}

/// What a registry says of a version.
fn of_registry(version: &Version, tarball: &str) -> Value {
    let mut about = version.about.clone();
    let digest = Sha512::digest(&version.tarball);
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    about["dist"] = json!({"tarball": tarball, "integrity": format!("sha512-{digest}")});
    // What only its author needs.
    if let Some(members) = about.as_object_mut() {
        members.retain(|name, _| !["devDependencies", "scripts"].contains(&name.as_str()));
    }
    about
}
