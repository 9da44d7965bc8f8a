//! Acts on files, by the means every program has.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["read", path] => Some(fs::read_to_string(path)),
        ["list", path] => Some(list(path)),
        ["append", path] => silent(
            OpenOptions::new()
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(b"+")),
        ),
        ["truncate", path] => silent(OpenOptions::new().write(true).truncate(true).open(path)),
        ["create", path] => silent(File::create_new(path)),
        ["mkdir", path] => silent(fs::create_dir(path)),
        ["rmdir", path] => silent(fs::remove_dir(path)),
        ["unlink", path] => silent(fs::remove_file(path)),
        ["rename", from, to] => silent(fs::rename(from, to)),
        ["link", from, to] => silent(fs::hard_link(from, to)),
        ["symlink", to, path] => silent(std::os::unix::fs::symlink(to, path)),
        ["chmod", path] => silent(fs::set_permissions(path, Permissions::from_mode(0o700))),
        // Both through a descriptor that was opened for reading only.
        ["fchmod", mode, path] => silent(fchmod(mode, path)),
        ["futimes", path] => silent(File::open(path).and_then(|file| {
            file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
        })),
        ["lock", path] => silent(File::open(path).and_then(|file| Ok(file.try_lock()?))),
        ["replace", path] => silent(replace(path)),
        ["fill", path, bytes] => silent(fill(path, bytes)),
        ["open-many", path, count] => silent(open_many(path, count)),
        _ => None,
    }
}

fn list(path: &str) -> io::Result<String> {
    let names =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    Ok(names.collect::<io::Result<Vec<_>>>()?.join(" "))
}

fn fchmod(mode: &str, path: &str) -> io::Result<()> {
    let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
    File::open(path)?.set_permissions(Permissions::from_mode(mode))
}

/// What a careful writer does: a new file beside the old one, synced, with its mode, moved over it.
fn replace(path: &str) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions();
    let beside = format!("{path}.new");
    let mut file = File::create_new(&beside)?;
    file.write_all(b"replaced")?;
    file.set_permissions(mode)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn fill(path: &str, bytes: &str) -> io::Result<()> {
    let mut source = io::repeat(b'x').take(bytes.parse().map_err(io::Error::other)?);
    io::copy(&mut source, &mut File::create(path)?).map(drop)
}

fn open_many(path: &str, count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    (0..count)
        .map(|_| File::open(path))
        .collect::<io::Result<Vec<_>>>()
        .map(drop)
}
