//! Acts on files, by the means every program has.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["read", path] => Some(fs::read_to_string(path)),
        ["read-at", number, name] => Some(read_at(number, name)),
        ["open", path] => silent(File::open(path)),
        // Changes nothing of it.
        ["open-to-write", path] => silent(OpenOptions::new().write(true).open(path)),
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
        ["create-for-all", path] => silent(create_for_all(path)),
        ["mkdir-for-all", path] => silent(mkdir_for_all(path)),
        ["rmdir", path] => silent(fs::remove_dir(path)),
        ["unlink", path] => silent(fs::remove_file(path)),
        ["rename", from, to] => silent(fs::rename(from, to)),
        ["link", from, to] => silent(fs::hard_link(from, to)),
        ["symlink", to, path] => silent(std::os::unix::fs::symlink(to, path)),
        ["chmod", path] => silent(fs::set_permissions(path, Permissions::from_mode(0o700))),
        ["chmod-to", mode, path] => silent(
            u32::from_str_radix(mode, 8)
                .map_err(io::Error::other)
                .and_then(|mode| fs::set_permissions(path, Permissions::from_mode(mode))),
        ),
        // By a name in a folder that is open.
        ["chmod-in", folder, name] => silent(File::open(folder).and_then(|folder| {
            Ok(fchmodat(
                &folder,
                *name,
                Mode::S_IRWXU,
                FchmodatFlags::FollowSymlink,
            )?)
        })),
        ["chmod-rewritten", granted, other, rounds] => {
            silent(chmod_rewritten(granted, other, rounds))
        }
        // Both through a descriptor that was opened for reading only.
        ["fchmod", mode, path] => silent(fchmod(mode, path)),
        // The same file by the name that a C library makes of a descriptor.
        ["fchmod-by-link", mode, path] => silent(File::open(path).and_then(|file| {
            use std::os::fd::AsRawFd;
            let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            fs::set_permissions(name, Permissions::from_mode(mode))
        })),
        ["fchmod-nameless", folder] => silent(fchmod_nameless(folder)),
        ["futimes", path] => silent(File::open(path).and_then(|file| {
            file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
        })),
        ["lock", path] => silent(File::open(path).and_then(|file| Ok(file.try_lock()?))),
        ["replace", path] => silent(replace(path)),
        ["fill", path, bytes] => silent(fill(path, bytes)),
        ["open-many", path, count] => silent(open_many(path, count)),
        ["chown", path] => silent(std::os::unix::fs::chown(
            path,
            Some(nix::unistd::getuid().as_raw()),
            None,
        )),
        ["chown-to-nobody", path] => silent(std::os::unix::fs::lchown(path, Some(65534), None)),
        ["truncate-path", path] => silent(nix::unistd::truncate(*path, 0).map_err(Into::into)),
        ["fifo", path] => silent(nix::unistd::mkfifo(*path, Mode::S_IRWXU).map_err(Into::into)),
        // What can be learned of a path without opening it.
        ["stat", path] => silent(fs::symlink_metadata(path)),
        ["access", path] => {
            silent(nix::unistd::access(*path, nix::unistd::AccessFlags::R_OK).map_err(Into::into))
        }
        ["read-link", path] => silent(fs::read_link(path)),
        ["file-system", path] => silent(nix::sys::statfs::statfs(*path).map_err(Into::into)),
        ["go-to", path] => silent(std::env::set_current_dir(path)),
        // Where it is.
        ["here"] => Some(std::env::current_dir().map(|path| path.display().to_string())),
        ["race", path, wanted] => silent(race(path, wanted)),
        // Many small files where each is within its limit.
        ["litter", folder, count] => silent(litter(folder, count)),
        _ => None,
    }
}

fn list(path: &str) -> io::Result<String> {
    let names =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    Ok(names.collect::<io::Result<Vec<_>>>()?.join(" "))
}

/// Changes the mode of one file while another thread goes on exchanging it for a link to the other, and says how often
/// that was refused. Done when the other file's mode was changed, once.
fn chmod_rewritten(granted: &str, other: &str, rounds: &str) -> io::Result<()> {
    let rounds: u32 = rounds.parse().map_err(io::Error::other)?;
    let was = fs::metadata(other)?.mode();
    let (link, file) = (format!("{granted}.link"), format!("{granted}.file"));
    // They may be left by an earlier try.
    let _ = std::os::unix::fs::symlink(other, &link);
    File::create(&file)?;
    let over = std::sync::atomic::AtomicBool::new(false);
    let over = &over;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::sync::atomic::Ordering;
            let both = [&link, &file];
            while !over.load(Ordering::Relaxed) {
                for from in both {
                    // A copy takes the name, so that there is always something.
                    let copy = format!("{granted}.copy");
                    let made = if from == both[0] {
                        std::os::unix::fs::symlink(other, &copy)
                    } else {
                        fs::hard_link(from, &copy)
                    };
                    let _ = made.and_then(|()| fs::rename(&copy, granted));
                    let _ = fs::remove_file(&copy);
                }
            }
        });
        let (mut changed, mut refused) = (0, None);
        // On a busy machine it takes more rounds to see both.
        let outcome = (0..rounds * 50).try_for_each(|round| {
            if round >= rounds && changed > 0 && refused.is_some() {
                return Ok(());
            }
            let mode = Permissions::from_mode(0o700 + (round % 8) * 8);
            match fs::set_permissions(granted, mode) {
                Ok(()) => changed += 1,
                Err(error) => refused = Some(error),
            }
            if fs::metadata(other)?.mode() == was {
                Ok(())
            } else {
                Err(io::Error::other("reached"))
            }
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        match (outcome, refused) {
            (Err(error), _) if error.to_string() == "reached" => Ok(()),
            (Err(error), _) => Err(error),
            (Ok(()), Some(refused)) if changed > 0 => Err(refused),
            (Ok(()), _) => Err(io::Error::other("nothing was raced")),
        }
    })
}

/// By a folder that is open and not by its path.
fn read_at(number: &str, name: &str) -> io::Result<String> {
    let folder = crate::os::duplicate(number.parse().map_err(io::Error::other)?)?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&folder, name, flags, Mode::empty())?);
    let mut text = String::new();
    file.read_to_string(&mut text).map(|_| text)
}

fn fchmod(mode: &str, path: &str) -> io::Result<()> {
    let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
    File::open(path)?.set_permissions(Permissions::from_mode(mode))
}

/// Sets the mode of a file that has lost its name.
fn fchmod_nameless(folder: &str) -> io::Result<()> {
    let path = format!("{folder}/nameless");
    let file = File::create_new(&path)?;
    fs::remove_file(&path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// What a careful writer does: a new file beside the old one, with its mode, synced, moved over it.
fn replace(path: &str) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let beside = format!("{path}.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(b"replaced")?;
    file.sync_all()?;
    fs::rename(beside, path)
}

/// Asks for a file that everybody may write. One that only some may write is removed again and counts as a refusal.
fn create_for_all(path: &str) -> io::Result<()> {
    crate::os::mask_no_modes();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(path)?;
    if is_for_all(&file.metadata()?) {
        return Ok(());
    }
    fs::remove_file(path)?;
    Err(Errno::EPERM.into())
}

/// As [`create_for_all`].
fn mkdir_for_all(path: &str) -> io::Result<()> {
    crate::os::mask_no_modes();
    fs::DirBuilder::new().mode(0o777).create(path)?;
    if is_for_all(&fs::metadata(path)?) {
        return Ok(());
    }
    fs::remove_dir(path)?;
    Err(Errno::EPERM.into())
}

fn is_for_all(made: &fs::Metadata) -> bool {
    made.mode() & 0o002 != 0
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

/// How long a race is run, in which many names are swapped.
const RACE: Duration = Duration::from_millis(100);
/// How long it may take to meet the other name at all, on a machine that has much else to do.
const RACE_AT_MOST: Duration = Duration::from_secs(10);

/// Reads `path`, which somebody swaps all the while, until it says `wanted` or the time is over.
fn race(path: &str, wanted: &str) -> io::Result<()> {
    let began = Instant::now();
    let mut met = None;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text == wanted => return Ok(()),
            Err(error) => met = Some(error),
            Ok(_) => {}
        }
        match met.take() {
            Some(error) if began.elapsed() > RACE => return Err(error),
            None if began.elapsed() > RACE_AT_MOST => return Err(io::ErrorKind::TimedOut.into()),
            other => met = other,
        }
    }
}

fn litter(folder: &str, count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    let names = (0..count).map(|n| format!("{folder}/litter-{n}"));
    let written: Vec<_> = names
        .map(|name| fs::write(&name, [0; 4096]).map(|()| name))
        .collect();
    let failed = written
        .iter()
        .find_map(|one| one.as_ref().err())
        .and_then(io::Error::raw_os_error);
    for name in written.into_iter().flatten() {
        fs::remove_file(name)?;
    }
    failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}
