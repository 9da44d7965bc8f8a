//! A change set that the owner does not want, dropped before its week is over.
//!
//! ```text
//! nobody needs it? ─▶ noted which one ─▶ it is none ─▶ its contents go
//! ```
//! Invariants: one drop takes one change set; none goes that is applied, that another builds on as far as that is whole, or that
//! a run under way made or began with; the note of a drop that was cut off and the change set itself say how it ended.
//!
//! Must not know: frames, what the owner is shown.

use super::{ApplyError, Folder};
use crate::{
    change_set::{Head, SetError, keep_listed},
    threads::Threads,
};
use plexus_protocol::AuditId;
use std::sync::PoisonError;

/// A change set that can be dropped.
#[derive(Debug)]
pub(crate) struct PlannedDrop {
    /// None: it cannot be read.
    pub(crate) head: Option<Head>,
    /// Those that a list has again once it is gone: it has their changes too.
    pub(crate) again: Vec<String>,
}

impl Folder {
    /// Computes what dropping a change set does.
    ///
    /// # Errors
    /// There is none; it is applied, or another one builds on it, or may; it cannot be read, and was applied.
    pub(crate) fn plan_drop(&self, id: &str) -> Result<PlannedDrop, ApplyError> {
        let head = match self.sets.head(id) {
            Ok(head) => Some(head),
            Err(SetError::Unknown) => return Err(SetError::Unknown.into()),
            Err(_) => None,
        };
        let found = self.sets.all()?;
        let mut all = found.sets;
        match self.calls_of(id, &self.history()?) {
            Ok(mut calls) => {
                if let Some(call) = calls.pop() {
                    return Err(ApplyError::IsApplied(call));
                }
            }
            Err(SetError::Unknown) => return Err(SetError::Unknown.into()),
            // Which of its files are in the folder nobody can say.
            Err(_) => return Err(ApplyError::WasApplied),
        }
        let builds = |(_, head): &&(String, Head)| {
            let onto = head.origin.as_ref().map(|origin| &origin.onto);
            onto.is_some_and(|onto| !onto.join && onto.sets.iter().any(|set| set == id))
        };
        if let Some((other, _)) = all.iter().find(builds) {
            return Err(ApplyError::IsBuiltOn(other.clone()));
        }
        // The owner sees which are damaged; any other one may be there again, whole. Of two that cannot be read neither keeps the other.
        let comes_back =
            |(other, why): &&(String, SetError)| other != id && !matches!(why, SetError::Damaged);
        if head.is_some()
            && let Some((other, _)) = found.unread.iter().find(comes_back)
        {
            return Err(ApplyError::PerhapsBuiltOn(other.clone()));
        }
        let mut before = all.clone();
        keep_listed(&mut before);
        all.retain(|(other, _)| other != id);
        keep_listed(&mut all);
        let is_new = |other: &String| !before.iter().any(|(listed, _)| listed == other);
        let again = all.into_iter().map(|(other, _)| other).filter(is_new);
        let again = again.collect();
        Ok(PlannedDrop { head, again })
    }

    /// Drops a change set as it is planned now. `call` names it for [`Self::was_dropped`].
    ///
    /// # Errors
    /// As [`Self::plan_drop`]; a run needs it.
    pub(crate) fn carry_out_drop(
        &self,
        id: &str,
        call: &AuditId,
        threads: &Threads,
    ) -> Result<PlannedDrop, ApplyError> {
        // An apply that is under way ends first, and counts then.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.plan_drop(id)?;
        let head = planned.head.as_ref();
        let of = head.and_then(|head| head.origin.as_ref());
        let made_by = of.and_then(|of| of.call.as_ref());
        let conversation = of.and_then(|of| of.conversation.as_deref());
        // Its run has made something, also where that can be seen no more.
        threads.note_turn(made_by)?;
        threads.note_drop(call, id)?;
        {
            // No run begins meanwhile, and each run waits for this: nothing here waits for the disk.
            let at_work = threads.runs_at_work();
            let user = at_work.iter().find(|(run, needs)| {
                let mut needs = needs.iter().map(String::as_str);
                made_by == Some(*run) || needs.any(|need| need == id || Some(need) == conversation)
            });
            if let Some((run, _)) = user {
                return Err(ApplyError::InUse(run.clone()));
            }
            self.sets.unmake(id)?;
        }
        self.sets.sync(id).map_err(ApplyError::NotSynced)?;
        if let Err(error) = self.sets.clear(id) {
            tracing::warn!(%error, "what a dropped change set held goes later");
        }
        Ok(planned)
    }

    /// Whether a call has dropped a change set; none where it was to drop none, or nobody can tell.
    pub(crate) fn was_dropped(&self, call: &AuditId, threads: &Threads) -> Option<bool> {
        match self.sets.head(&threads.to_drop(call)?) {
            Ok(_) | Err(SetError::Damaged) => Some(false),
            Err(SetError::Unknown) => Some(true),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{call, kept, origin, scene};
    use super::*;
    use crate::change_set::{Origin, superseding};
    use std::fs;

    #[test]
    fn only_what_nobody_needs_is_dropped() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let (folder, top) = (&scene.folder, scene.dir.path());
        let threads = Threads::in_folder(top);
        let drops = |id: &str, number| folder.carry_out_drop(id, &call(number), &threads);
        let is_there = |id: &str| top.join("changes").join(id).exists();

        // One that is applied, until that is taken back.
        scene.apply(&call(1), |_| ()).unwrap();
        let refused = drops(&scene.set, 2);
        assert!(
            matches!(&refused, Err(ApplyError::IsApplied(by)) if *by == call(1)),
            "{refused:?}"
        );
        assert_eq!(folder.was_dropped(&call(2), &threads), None, "not begun");
        scene.undo(&call(1), &call(3)).unwrap();

        // One that another builds on, and one that a run under way made or began with, or whose conversation goes on.
        let run = call(5);
        let later = Origin {
            call: Some(run.clone()),
            ..origin(2, Some("chat"), &[&scene.set], false)
        };
        let later = kept(folder, top, later);
        let refused = drops(&scene.set, 4);
        assert!(
            matches!(&refused, Err(ApplyError::IsBuiltOn(by)) if *by == later),
            "{refused:?}"
        );
        for (user, needs) in [
            (5, vec![]),
            (10, vec![later.clone()]),
            (10, vec!["chat".to_owned()]),
        ] {
            let at_work = threads.at_work(Some(&call(user)), needs);
            let refused = drops(&later, 6);
            assert!(
                matches!(&refused, Err(ApplyError::InUse(by)) if *by == call(user)),
                "{refused:?}"
            );
            assert!(is_there(&later) && is_there(&scene.set));
            assert_eq!(folder.was_dropped(&call(6), &threads), Some(false));
            drop(at_work);
        }

        // The controls: each goes, and an apply that was planned before finds none.
        let _at_work = threads.at_work(Some(&call(10)), vec!["another chat".to_owned()]);
        drops(&later, 7).unwrap();
        assert!(threads.had_turn(&run), "it has made something");
        let planned = folder.plan(&scene.set, None, &|| false).unwrap();
        drops(&scene.set, 8).unwrap();
        assert!(!is_there(&later) && !is_there(&scene.set));
        let late = folder.commit(planned, &call(9));
        assert!(
            matches!(late, Err(ApplyError::Set(SetError::Unknown))),
            "{late:?}"
        );
        assert_eq!(scene.read("a").unwrap(), "1");
        let again = drops(&scene.set, 9);
        assert!(
            matches!(again, Err(ApplyError::Set(SetError::Unknown))),
            "{again:?}"
        );
    }

    #[test]
    fn set_goes_alone_and_a_list_has_what_it_held() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let (folder, top) = (&scene.folder, scene.dir.path());
        let threads = Threads::in_folder(top);
        let first = kept(folder, top, origin(1, Some("chat"), &[], false));
        let second = kept(folder, top, origin(2, Some("chat"), &[], false));
        let joined = kept(folder, top, origin(3, None, &[&scene.set, &second], true));
        let all = folder.sets.all().unwrap().sets;
        let later = [&scene.set, &first, &second, &joined].map(|set| superseding(set, &all));
        assert_eq!(
            later,
            [Some(&*joined), Some(&*second), Some(&*joined), None]
        );
        // Two that are damaged keep none from going; one that was applied stays.
        let damaged = [4, 5].map(|made| kept(folder, top, origin(made, None, &[], false)));
        let [applied, unread] = &damaged;
        let plan = folder.plan(applied, None, &|| false).unwrap();
        folder.commit(plan, &call(7)).unwrap();
        scene.undo(&call(7), &call(8)).unwrap();
        // One that may be there again keeps each other one; to drop it does so or says why not.
        let file = top.join("changes").join(unread).join("set.json");
        let away = file.with_extension("away");
        fs::rename(&file, &away).unwrap();
        fs::remove_file(file.with_file_name("head.json")).unwrap();
        fs::create_dir(&file).unwrap();
        let refused = folder.carry_out_drop(&joined, &call(9), &threads);
        assert!(
            matches!(&refused, Err(ApplyError::PerhapsBuiltOn(by)) if by == unread),
            "{refused:?}"
        );
        let refused = folder.carry_out_drop(unread, &call(9), &threads);
        assert!(
            matches!(refused, Err(ApplyError::Set(SetError::Io(_)))),
            "{refused:?}"
        );
        fs::remove_dir(&file).unwrap();
        fs::rename(&away, &file).unwrap();
        for (set, file) in [
            (applied, "set.json"),
            (unread, "head.json"),
            (unread, "set.json"),
        ] {
            fs::write(top.join("changes").join(set).join(file), "x").unwrap();
        }
        let refused = folder.carry_out_drop(applied, &call(1), &threads);
        assert!(
            matches!(refused, Err(ApplyError::WasApplied)),
            "{refused:?}"
        );
        let drops = |id: &str, number| {
            let dropped = folder.carry_out_drop(id, &call(number), &threads).unwrap();
            let mut again = dropped.again;
            again.sort();
            again
        };
        let mut held = vec![scene.set.clone(), second.clone()];
        held.sort();
        assert_eq!(drops(&joined, 2), held);
        assert_eq!(drops(&second, 3), std::slice::from_ref(&first));
        assert_eq!(drops(&first, 4), Vec::<String>::new());
        threads.note_drop(&call(5), unread).unwrap();
        assert_eq!(folder.was_dropped(&call(5), &threads), Some(false));
        assert_eq!(drops(unread, 6), Vec::<String>::new());
        let left = folder.sets.all().unwrap();
        assert!(left.unread.is_empty());
        let mut left: Vec<_> = left.sets.iter().map(|(id, _)| id).collect();
        left.sort();
        let mut stay = [&scene.set, applied];
        stay.sort();
        assert_eq!(left, stay);
    }

    /// Cut off between its note and its end, a drop is settled by what is there.
    #[test]
    fn drop_that_dies_is_settled_by_its_set() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let folder = &scene.folder;
        let threads = Threads::in_folder(scene.dir.path());
        threads.note_drop(&call(1), &scene.set).unwrap();
        assert_eq!(folder.was_dropped(&call(1), &threads), Some(false));
        assert!(folder.plan(&scene.set, None, &|| false).is_ok(), "whole");
        folder.sets.unmake(&scene.set).unwrap();
        assert_eq!(folder.was_dropped(&call(1), &threads), Some(true));
        // The note of a turn is none of a drop.
        threads.note_turn(Some(&call(2))).unwrap();
        assert_eq!(folder.was_dropped(&call(2), &threads), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn drop_survives_a_power_cut() {
        use crate::change_set::Sets;
        use plexus_rooted_files::{Policy, Root};
        use std::{path::Path, sync::Arc};

        let open = |top: &Path| {
            let root = Root::open(&top.join("folder"), Policy::default()).unwrap();
            Folder::new(Arc::new(root), Sets::in_folder(top), top)
        };
        let before = |top: &Path| {
            for (name, text) in [("folder", "1"), ("copy", "2")] {
                fs::create_dir_all(top.join(name)).unwrap();
                fs::write(top.join(name).join("a"), text).unwrap();
            }
            kept(&open(top), top, origin(1, None, &[], false))
        };
        let drops = |top: &Path, set: &str| {
            let threads = Threads::in_folder(top);
            open(top).carry_out_drop(set, &call(1), &threads).unwrap();
        };
        let done =
            |top: &Path| open(top).was_dropped(&call(1), &Threads::in_folder(top)) == Some(true);
        plexus_power_cut::holds(before, |disk, set| drops(&disk.path(), &set), done, &[]);
    }
}
