//! What a worker may do to files: nothing outside, nothing but reading for a reader.

use nix::errno::Errno;

#[cfg(target_os = "linux")]
use crate::{Bystander, Outcome, listener, uncaged};
use crate::{Cage, OBSIDIAN};

/// Landlock says EXDEV where a move or link would leave the tree that allows it.
const MOVES: [Errno; 3] = [Errno::EPERM, Errno::EACCES, Errno::EXDEV];

#[test]
fn a_reader_reads_its_root_and_nothing_else() {
    for cage in [Cage::reader(), Cage::new(OBSIDIAN, "reader")] {
        assert_eq!(cage.allows(&["read", &cage.in_root("note.md")]), "text");
        assert_eq!(cage.allows(&["list", &cage.in_root("")]), "note.md");
        cage.denies(&["read", &cage.outside("note.md")]);
        cage.denies(&["list", &cage.outside("")]);
        // Apple's bsd.sb opens this one.
        #[cfg(target_os = "linux")]
        cage.denies(&["read", "/etc/passwd"]);
    }
}

#[test]
fn an_obsidian_worker_is_a_reader_whatever_its_role_and_has_no_scratch() {
    let cage = Cage::new(OBSIDIAN, "writer");
    cage.denies(&["create", &cage.in_root("new.md")]);
    cage.denies(&["read", &cage.in_scratch("note.md")]);
}

#[test]
fn a_link_in_the_root_leads_nowhere_outside() {
    let cage = Cage::reader();
    std::os::unix::fs::symlink(cage.outside.join("note.md"), cage.root.join("link"))
        .expect("a link");
    cage.denies(&["read", &cage.in_root("link")]);
    cage.denies(&["read", &cage.in_root("../outside/note.md")]);
}

/// A profile that is written for macOS names programs that are links elsewhere.
#[test]
#[cfg(target_os = "linux")]
fn link_that_a_profile_spells_out_grants_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("its path");
    let (note, link) = (folder.join("note.md"), folder.join("link"));
    std::fs::write(&note, "text").expect("a note");
    std::os::unix::fs::symlink(&note, &link).expect("a link");
    let spelling =
        |path: &std::path::Path| format!("{OBSIDIAN}(allow file-read* (literal {path:?}))\n");
    let [note, link] = [&note, &link].map(|path| path.to_str().expect("a text"));
    let cage = Cage::new(&spelling(link.as_ref()), "reader");
    assert_eq!(cage.allows(&["read", &cage.in_root("note.md")]), "text");
    cage.denies(&["read", link]);
    cage.denies(&["read", note]);
    // The control: what the link leads to, spelled out.
    let cage = Cage::new(&spelling(note.as_ref()), "reader");
    assert_eq!(cage.allows(&["read", note]), "text");
}

#[test]
fn a_reader_changes_nothing_in_its_root() {
    let cage = Cage::reader();
    let note = &cage.in_root("note.md");
    for act in [
        &["append", note][..],
        &["truncate", note],
        &["create", &cage.in_root("new.md")],
        &["mkdir", &cage.in_root("folder")],
        &["symlink", note, &cage.in_root("link")],
        &["link", note, &cage.in_root("second")],
        &["replace", note],
        &["chmod", note],
        &["rename", note, &cage.in_root("moved.md")],
        &["unlink", &cage.in_root("moved.md")],
    ] {
        cage.denies(act);
    }
    let cage = Cage::reader();
    std::fs::create_dir(cage.root.join("folder")).expect("a folder");
    cage.denies(&["rmdir", &cage.in_root("folder")]);
}

#[test]
fn a_descriptor_for_reading_is_no_way_to_change_a_file() {
    let cages = [Cage::reader(), Cage::new(OBSIDIAN, "reader")];
    // On Linux a writer has no such call either: it could not tell its own files from those that it only reads.
    let cages = cages.into_iter();
    for cage in cages.chain(cfg!(target_os = "linux").then(Cage::writer)) {
        let note = &cage.in_root("note.md");
        cage.denies(&["fchmod", "700", note]);
        cage.denies(&["futimes", note]);
        #[cfg(target_os = "linux")]
        {
            for how in ["range", "range-of-open-file"] {
                cage.denies(&["lock-by", how, note]);
            }
            if cage.role == "reader" {
                cage.denies(&["lock", note]);
            }
            cage.denies(&["set-flags", note]);
            cage.denies(&["lease", note]);
        }
    }
}

/// A writer locks to know its own unfinished files. With a monitor its lock of any other file is pretended. Without one it is
/// real: what a shipped profile lets a writer only read is its own program (`profiles`).
#[cfg(target_os = "linux")]
#[test]
fn lock_of_a_monitored_worker_is_pretended() {
    let taken = Outcome::Refused(Errno::EAGAIN);
    let open = Outcome::Done(String::new());
    let (_listener, port) = listener("127.0.0.1:0");
    let network = format!("(allow network-outbound (remote tcp \"localhost:{port}\"))\n");
    for (rule, outside) in [(network.as_str(), &open), ("", &taken)] {
        let cage = Cage::writer();
        let reads = format!("(allow file-read* (subpath {:?}))\n{rule}", cage.outside);
        let cage = cage.with(&reads);
        for (path, expected) in [
            (cage.in_root("note.md"), &taken),
            (cage.outside("note.md"), outside),
        ] {
            let held = Bystander::wait_for(&mut cage.command(&["stay-locked", "whole", &path]));
            let seen = uncaged(&["lock-by", "whole", &path]);
            assert_eq!(&seen, expected, "{rule:?}: {path}");
            drop(held);
            assert_eq!(uncaged(&["lock-by", "whole", &path]), open, "{path}");
        }
    }
}

#[test]
fn a_writer_changes_files_in_root_and_scratch() {
    let cage = Cage::writer();
    for within in [Cage::in_root, Cage::in_scratch] {
        let names = ["note.md", "new", "folder", "folder/moved"];
        let [note, new, folder, moved] = names.map(|name| within(&cage, name));
        cage.allows(&["append", &note]);
        cage.allows(&["truncate", &note]);
        cage.allows(&["replace", &note]);
        cage.allows(&["lock", &note]);
        cage.allows(&["create", &new]);
        cage.allows(&["mkdir", &folder]);
        cage.allows(&["rename", &new, &moved]);
        cage.allows(&["link", &moved, &new]);
        cage.allows(&["unlink", &moved]);
        cage.allows(&["rmdir", &folder]);
        assert_eq!(cage.allows(&["read", &note]), "replaced");
    }
    cage.allows(&["rename", &cage.in_root("note.md"), &cage.in_scratch("kept")]);
}

#[test]
fn a_reader_sees_what_its_writer_kept_and_cannot_change_it() {
    let cage = Cage::reader();
    assert_eq!(cage.allows(&["read", &cage.in_scratch("note.md")]), "text");
    cage.denies(&["append", &cage.in_scratch("note.md")]);
    cage.denies(&["create", &cage.in_scratch("new")]);
}

#[test]
fn a_writer_changes_nothing_outside() {
    let cage = Cage::writer();
    let note = &cage.outside("note.md");
    cage.denies(&["read", note]);
    cage.denies(&["append", note]);
    cage.denies(&["truncate", note]);
    cage.denies(&["create", &cage.outside("new")]);
    cage.denies(&["mkdir", &cage.outside("folder")]);
    cage.denies_with(&["link", note, &cage.in_root("stolen")], &MOVES);
    let own = &cage.in_root("note.md");
    cage.denies_with(&["link", own, &cage.outside("leaked")], &MOVES);
    cage.denies_with(&["rename", own, &cage.outside("moved")], &MOVES);
    cage.denies_with(&["rename", note, &cage.in_root("taken")], &MOVES);
    let cage = Cage::writer();
    cage.denies(&["unlink", &cage.outside("note.md")]);
}

#[test]
fn a_writer_changes_no_metadata_by_path() {
    let cage = Cage::writer();
    cage.denies(&["chmod", &cage.outside("note.md")]);
    // Linux cannot tell one path from another here, so there it is no path at all.
    #[cfg(target_os = "linux")]
    for note in [&cage.outside("note.md"), &cage.in_root("note.md")] {
        cage.denies(&["chmod", note]);
        cage.denies(&["utimes-path", note]);
        cage.denies(&["set-attribute", note]);
        cage.denies(&["set-flags", note]);
        cage.denies(&["lease", note]);
    }
}

#[test]
fn a_writer_makes_nothing_that_others_would_run_or_follow() {
    let cage = Cage::writer();
    cage.denies(&["symlink", "/etc/passwd", &cage.in_root("link")]);
    #[cfg(target_os = "linux")]
    for mode in ["4755", "2755", "1777", "666"] {
        cage.denies(&["fchmod", mode, &cage.in_root("note.md")]);
    }
    #[cfg(target_os = "linux")]
    for folder in [Cage::in_root, Cage::in_scratch] {
        cage.denies(&["create-for-all", &folder(&cage, "shared.md")]);
        cage.denies(&["mkdir-for-all", &folder(&cage, "shared")]);
    }
}

/// Whatever mask the gateway itself was started with.
#[cfg(target_os = "linux")]
#[test]
fn what_a_writer_makes_is_not_for_all_where_everything_else_is() {
    let cage = Cage::writer();
    let launched = cage.command(&["create-for-all", &cage.in_root("shared.md")]);
    let mut unmasked = crate::free(&["unmasked"]);
    unmasked
        .arg(launched.get_program())
        .args(launched.get_args());
    let made = crate::ran(unmasked.env_clear().stdin(std::process::Stdio::null()));
    assert_eq!(made, Outcome::Refused(Errno::EPERM));
}

#[cfg(target_os = "linux")]
#[test]
fn files_are_not_reached_by_handle_or_watched() {
    let cage = Cage::writer();
    cage.denies(&["handle", &cage.in_root("note.md")]);
    cage.denies(&["watch", &cage.outside("")]);
    cage.denies(&["memfd"]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_base_list_leaves_out_is_closed() {
    let cage = Cage::reader();
    cage.denies(&["read", "/proc/self/environ"]);
    cage.denies(&["list", "/proc"]);
    cage.denies(&["list", "/sys"]);
    cage.denies(&["list", "/usr/lib"]);
    cage.denies(&["list", "/dev"]);
}

#[test]
fn what_the_base_list_holds_is_open() {
    let cage = Cage::reader();
    cage.allows(&["append", "/dev/null"]);
    #[cfg(target_os = "linux")]
    cage.allows(&["list", "/usr/share/zoneinfo"]);
}

#[test]
fn the_file_system_limit_is_an_error_and_not_a_signal() {
    let mut cage = Cage::writer();
    cage.limits.file_size = Some(1000);
    cage.allows(&["fill", &cage.in_root("small"), "1000"]);
    let large = cage.in_root("large");
    if cfg!(target_os = "linux") {
        cage.refuses(&["fill", &large, "1001"], &[Errno::EFBIG]);
    }
    crate::works(&["fill", &large, "1001"]);
}

/// The kernel leaves a device behind, for which it asks no right to make one.
#[cfg(target_os = "linux")]
#[test]
fn a_rename_leaves_no_device_behind() {
    for cage in [Cage::reader(), Cage::writer()] {
        let (note, moved) = (cage.in_root("note.md"), cage.in_root("moved.md"));
        cage.denies_where_offered(&["whiteout", &note, &moved], &[]);
    }
    let cage = Cage::writer();
    let (note, there) = (cage.in_root("note.md"), cage.in_root("there.md"));
    std::fs::write(&there, "text").expect("another file");
    cage.allows(&["exchange", &note, &there]);
}
