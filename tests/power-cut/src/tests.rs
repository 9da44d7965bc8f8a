use super::*;
use nix::errno::Errno;
use std::fs::File;

fn put(path: &Path, text: &str) -> File {
    let mut file = File::options();
    let file = file.write(true).create(true).truncate(true).open(path);
    let mut file = file.unwrap();
    io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    file
}

fn sync(folder: &Path) {
    File::open(folder).unwrap().sync_all().unwrap();
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn what_was_not_synced_is_gone() {
    let disk = Disk::new();
    let top = disk.path();
    put(&top.join("neither"), "1");
    put(&top.join("content alone"), "1").sync_all().unwrap();
    fs::create_dir(top.join("folder")).unwrap();
    put(&top.join("folder/below"), "1").sync_all().unwrap();
    sync(&top.join("folder"));
    disk.cut();
    assert_eq!(fs::read_dir(&top).unwrap().count(), 0);

    // The control: the same, and their folder.
    put(&top.join("name alone"), "1");
    put(&top.join("both"), "1").sync_data().unwrap();
    fs::create_dir(top.join("folder")).unwrap();
    put(&top.join("folder/below"), "1").sync_all().unwrap();
    sync(&top.join("folder"));
    symlink("both", top.join("link")).unwrap();
    sync(&top);
    disk.cut();
    assert_eq!(text(&top.join("name alone")).unwrap(), "");
    for whole in ["both", "link", "folder/below"] {
        assert_eq!(text(&top.join(whole)).unwrap(), "1", "{whole}");
    }
}

#[test]
fn what_is_replaced_moved_or_removed_unsynced_is_as_before() {
    let disk = Disk::new();
    let at = |name: &str| disk.path().join(name);
    fs::create_dir(at("a")).unwrap();
    for name in ["over", "moved", "gone", "written", "a/deep"] {
        put(&at(name), "old");
    }
    disk.sync();
    put(&at("new"), "new").sync_all().unwrap();
    fs::rename(at("new"), at("over")).unwrap();
    fs::rename(at("moved"), at("elsewhere")).unwrap();
    fs::rename(at("a"), at("b")).unwrap();
    fs::remove_file(at("gone")).unwrap();
    put(&at("written"), "new");
    disk.cut();
    for name in ["over", "moved", "gone", "written", "a/deep"] {
        assert_eq!(text(&at(name)).unwrap(), "old", "{name}");
    }
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 5);
    // A second one finds what the first left.
    disk.cut();
    assert_eq!(text(&at("a/deep")).unwrap(), "old");
}

#[test]
fn lost_sync_is_told_as_done() {
    let disk = Disk::new();
    let path = disk.path().join("file");
    disk.lose(1);
    put(&path, "1").sync_all().unwrap();
    sync(&disk.path());
    disk.cut();
    assert_eq!((text(&path).unwrap(), disk.syncs()), (String::new(), 2));
}

#[test]
fn sync_after_the_power_went_is_lost() {
    let disk = Disk::new();
    let path = disk.path().join("file");
    disk.off();
    put(&path, "1").sync_all().unwrap();
    sync(&disk.path());
    disk.cut();
    assert_eq!((text(&path), disk.syncs()), (None, 0));
    // The control: it is on again.
    put(&path, "1").sync_all().unwrap();
    sync(&disk.path());
    disk.cut();
    assert_eq!(text(&path).unwrap(), "1");
}

#[test]
fn sync_outside_of_a_disk_is_the_systems() {
    let elsewhere = tempfile::tempdir().unwrap();
    put(&elsewhere.path().join("file"), "1").sync_all().unwrap();
    assert_eq!(os::fsync(-1), -1);
    assert_eq!(Errno::last(), Errno::EBADF);
}

#[test]
fn act_that_forgets_a_sync_does_not_hold() {
    let (file, folder) = (|path: &Path| put(path, "1").sync_all().unwrap(), sync);
    let held = |act: &(dyn Fn(&Path) + std::panic::RefUnwindSafe), needless: &[u64]| {
        let done = |top: &Path| text(&top.join("f")).is_some_and(|text| text == "1");
        std::panic::catch_unwind(|| holds(|_| (), |disk, ()| act(&disk.path()), done, needless))
            .is_ok()
    };
    assert!(held(&|top| (file(&top.join("f")), folder(top)).1, &[]));
    assert!(!held(&|top| file(&top.join("f")), &[]));
    assert!(!held(
        &|top| (drop(put(&top.join("f"), "1")), folder(top)).1,
        &[]
    ));
    // One more than it needs.
    let twice = |top: &Path| (file(&top.join("f")), folder(top), folder(top)).2;
    assert!(!held(&twice, &[]) && held(&twice, &[2, 3]));
}
