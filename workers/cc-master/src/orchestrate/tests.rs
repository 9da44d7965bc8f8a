//! Boards that are walked on a gateway of the test's own: what is asked for after a start, after a refusal, and how often.

use super::*;
use crate::board::{BoardState, Draft, TaskState};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::watch;

const APPROVAL: Digest = Digest([3; 32]);

/// A gateway that answers each run at once.
#[derive(Clone, Debug)]
struct Fake {
    /// What was asked for: `child NAME PROMPT`, `run NAME`, `stop NAME`.
    asked: Arc<Mutex<Vec<String>>>,
    /// How the approval stands.
    standing: watch::Sender<&'static str>,
    told: watch::Sender<Value>,
    /// What each run was asked for with, by its name.
    inputs: Arc<Mutex<BTreeMap<String, Value>>>,
    /// How the first runs stand; those after them did their work.
    runs: Arc<Mutex<VecDeque<Value>>>,
}

impl Fake {
    fn new(standing: &'static str) -> Self {
        Self {
            asked: Arc::default(),
            standing: watch::Sender::new(standing),
            told: watch::Sender::new(Value::Null),
            inputs: Arc::default(),
            runs: Arc::default(),
        }
    }

    fn note(&self, line: String) {
        self.asked.lock().unwrap().push(line);
    }

    /// What was asked for, without the board's id.
    fn asked(&self, id: BoardId) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|line| line.replace(&format!("{id}/"), ""))
            .collect()
    }
}

impl Gateway for Fake {
    async fn child(
        &self,
        approval: Digest,
        name: &str,
        capability: &str,
        input: &Value,
    ) -> Result<Value, SourceError> {
        assert_eq!((approval, capability), (APPROVAL, "codex.run"));
        let prompt = input["prompt"].as_str().unwrap();
        self.note(format!("child {name} {prompt}"));
        let mut inputs = self.inputs.lock().unwrap();
        inputs.insert(name.to_owned(), input.clone());
        drop(inputs);
        Ok(match prompt.contains("refuse") {
            true => json!({"ok": false, "error": {"code": "denied", "message": "No."}}),
            false => json!({"ok": true, "run": "run_1", "used": 1, "left": 9}),
        })
    }

    async fn run(&self, _: Digest, name: &str) -> Result<Value, SourceError> {
        self.note(format!("run {name}"));
        if let Some(run) = self.runs.lock().unwrap().pop_front() {
            return Ok(run);
        }
        let output =
            json!({"text": "Did it.", "changes": {"id": "cs_1", "added": 2, "removed": 1}});
        Ok(json!({"ok": true, "state": "over", "answer": {"ok": true, "output": output}}))
    }

    async fn approval(&self, _: Digest) -> Result<Value, SourceError> {
        let standing = *self.standing.borrow();
        Ok(json!({"ok": true, "state": standing, "left": 9}))
    }

    async fn stop(&self, _: Digest, name: &str) -> Result<Value, SourceError> {
        self.note(format!("stop {name}"));
        Ok(json!({"ok": true}))
    }

    async fn end(&self, _: Digest) -> Result<Value, SourceError> {
        self.note("end".into());
        Ok(json!({"ok": true}))
    }

    async fn tell(&self, _: BoardId, payload: &Value) -> Result<(), SourceError> {
        self.told.send_replace(payload.clone());
        Ok(())
    }
}

fn draft(id: &str, prompt: &str, needs: &[&str]) -> Draft {
    Draft {
        id: id.into(),
        title: id.into(),
        prompt: prompt.into(),
        agent: "codex.run".parse().unwrap(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
    }
}

/// A board that is under way, kept, and what would walk it.
fn kept(
    folder: &std::path::Path,
    drafts: Vec<Draft>,
    fake: &Fake,
    begun: impl FnOnce(&mut Board),
) -> (Walker<Fake>, BoardId) {
    let id = BoardId::fresh();
    let sets = ChangeSets::default();
    let mut board = Board::new(id, "A goal".into(), drafts, sets, Timestamp(1)).unwrap();
    let orchestration = Orchestration {
        approval: APPROVAL,
        agents: vec!["codex.run".parse().unwrap()],
        parallel: 2,
        task: None,
        began: Timestamp(1),
        state: Progress::UnderWay,
        budget: crate::board::Budget::default(),
    };
    board.begin(orchestration).unwrap();
    begun(&mut board);
    let walker = Walker::new(Store::new(folder.into()), fake.clone());
    walker.store.add(&board).unwrap();
    (walker, id)
}

/// A board of one task, as [`kept`].
fn one_task(folder: &std::path::Path, fake: &Fake) -> (Walker<Fake>, BoardId) {
    kept(folder, vec![draft("a", "Do a.", &[])], fake, |_| {})
}

async fn once(fake: &Fake, state: &str) {
    let mut told = fake.told.subscribe();
    told.wait_for(|told| told["state"] == state).await.unwrap();
}

#[tokio::test]
async fn started_process_goes_on_under_the_names_of_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("open");
    let drafts = vec![
        draft("a", "Do a.", &[]),
        draft("b", "Do b.", &[]),
        draft("c", "Do c.", &["a", "b"]),
    ];
    // The last process ended before it knew whether it had made the run of `a`, and while that of `b` went on.
    let (walker, id) = kept(folder.path(), drafts, &fake, |board| {
        board.start("a", Timestamp(2)).unwrap();
        board.start("b", Timestamp(2)).unwrap();
        board.named("b", "run_b".into()).unwrap();
    });
    walker.resume().await.unwrap();
    once(&fake, "done").await;
    let mut asked = fake.asked(id);
    let last = asked.split_off(3);
    asked.sort();
    assert_eq!(asked, ["child a/1 Do a.", "run a/1", "run b/1"]);
    assert!(last[0].starts_with("child c/1 Do c.\n\n"), "{last:?}");
    let answers = "\na:\nDid it.\n\nb:\nDid it.\n";
    assert!(last[0].ends_with(answers), "{last:?}");
    assert_eq!(last[1..], ["run c/1", "end"]);
    let board = walker.store.get(id).unwrap();
    assert_eq!(board.state(), BoardState::Done);
    let TaskStage::Ended { result, .. } = &board.task("c").unwrap().stage else {
        panic!("{board:?}")
    };
    let expected = TaskResult::Done {
        message: "Did it.".to_owned(),
        changes: Some(ChangeSet {
            id: "cs_1".into(),
            files: 3,
        }),
    };
    assert_eq!(*result, expected);
}

#[tokio::test]
async fn refused_run_fails_its_task_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("open");
    let drafts = vec![
        draft("a", "Please refuse.", &[]),
        draft("b", "Do b.", &[]),
        draft("c", "Do c.", &["a"]),
    ];
    let (walker, id) = kept(folder.path(), drafts, &fake, |_| {});
    walker.go(id);
    once(&fake, "unfinished").await;
    let board = walker.store.get(id).unwrap();
    let states: Vec<TaskState> = board.states().into_values().collect();
    use TaskState::{Done, Failed, Skipped};
    assert_eq!(states, [Failed, Done, Skipped]);
}

#[tokio::test]
async fn ended_approval_makes_no_run() {
    for (standing, why) in [
        ("void", "the approval was ended"),
        ("over", "the approval's time is over"),
        ("spent", "the approval's runs are used up"),
        ("of a later version", "the approval was ended"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new(standing);
        let (walker, id) = one_task(folder.path(), &fake);
        walker.go(id);
        once(&fake, "unfinished").await;
        let board = walker.store.get(id).unwrap();
        let state = board.orchestration.unwrap().state;
        assert!(matches!(state, Progress::Ended { why: Some(kept), .. } if kept == why));
        assert_eq!(fake.asked(id), [""; 0]);
    }
}

fn over(error: Value) -> Value {
    json!({"ok": true, "state": "over", "answer": {"ok": false, "error": error}})
}

#[tokio::test]
async fn runs_that_died_or_were_paused_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("open");
    fake.runs.lock().unwrap().extend([
        json!({"ok": true, "state": "unknown"}),
        over(json!({"code": "cancelled", "detail": {"reason": "pause"}})),
        over(json!({"code": "source_unavailable", "detail": {"reason": "stopped"}})),
    ]);
    let (walker, id) = one_task(folder.path(), &fake);
    walker.go(id);
    once(&fake, "done").await;
    let runs = (1..=4).flat_map(|n| [format!("child a/{n} Do a."), format!("run a/{n}")]);
    let asked: Vec<String> = runs.chain(["end".to_owned()]).collect();
    assert_eq!(fake.asked(id), asked);
    let board = walker.store.get(id).unwrap();
    let task = board.task("a").unwrap();
    assert_eq!((task.attempts, task.again.as_deref()), (4, Some(STOPPED)));
}

#[tokio::test]
async fn board_says_that_a_dead_run_used_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("open");
    let died = over(json!({"code": "source_unavailable", "detail": {"reason": "stopped"}}));
    fake.runs.lock().unwrap().push_back(died);
    let drafts = vec![draft("a", "Do a.", &[])];
    let (walker, id) = kept(folder.path(), drafts, &fake, |board| {
        let orchestration = board.orchestration.as_mut().unwrap();
        orchestration.parallel = 1;
        orchestration.budget.max_cost = Some(1.0);
    });
    walker.go(id);
    once(&fake, "unfinished").await;
    assert_eq!(fake.asked(id), ["child a/1 Do a.", "run a/1", "end"]);
    let state = walker.store.get(id).unwrap().orchestration.unwrap().state;
    let words = "used up: a run that failed or was cut off counts with its whole share";
    assert!(
        matches!(&state, Progress::Ended { why: Some(why), .. } if why.ends_with(words)),
        "{state:?}"
    );
}

#[tokio::test]
async fn third_death_fails_a_task_and_a_stop_is_no_death() {
    let unknown = json!({"code": "outcome_unknown", "effect": "unknown"});
    let stopped = json!({"code": "cancelled", "detail": {"reason": "owner"}});
    let failed = json!({"code": "transport_error", "detail": {"reason": "agent_failed"}});
    for (end, count, state) in [
        (
            json!({"ok": true, "state": "unknown"}),
            3,
            TaskState::Failed,
        ),
        (over(unknown), 1, TaskState::Unknown),
        (over(stopped), 1, TaskState::Failed),
        (over(failed), 1, TaskState::Failed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new("open");
        fake.runs.lock().unwrap().extend(vec![end.clone(); 3]);
        let (walker, id) = one_task(folder.path(), &fake);
        walker.go(id);
        once(&fake, "unfinished").await;
        let board = walker.store.get(id).unwrap();
        let attempts = board.task("a").unwrap().attempts;
        assert_eq!((attempts, board.states()["a"]), (count, state), "{end}");
        assert_eq!(fake.asked(id).last().unwrap(), "end", "{end}");
    }
}

#[tokio::test]
async fn run_begins_with_what_the_tasks_before_it_made() {
    let drafts = || {
        vec![
            draft("a", "Do a.", &[]),
            draft("b", "Do b.", &["a"]),
            draft("c", "Do c.", &[]),
        ]
    };
    for (sets, begins) in [
        (ChangeSets::Each, json!([null, ["cs_1"], null])),
        (ChangeSets::One, json!([null, ["cs_1"], ["cs_1"]])),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new("open");
        let (walker, id) = kept(folder.path(), drafts(), &fake, |board| {
            board.change_sets = sets;
        });
        walker.go(id);
        once(&fake, "done").await;
        let inputs = fake.inputs.lock().unwrap().clone();
        for (at, name) in ["a/1", "b/1", "c/1"].into_iter().enumerate() {
            let (input, begins) = (&inputs[&format!("{id}/{name}")], &begins[at]);
            assert_eq!(input["onto"], *begins, "{sets:?} {name}");
            let joins = (!begins.is_null()).then_some(sets == ChangeSets::One);
            assert_eq!(input["join"], json!(joins), "{sets:?} {name}");
        }
    }
}

#[test]
fn answers_are_read_as_what_they_say() {
    let answer = |error: Value| result_of(&json!({"ok": false, "error": error}));
    let failed = answer(json!({"code": "transport_error", "message": "no", "effect": "none"}));
    assert_eq!(failed, TaskResult::Failed("transport_error: no".into()));
    let half = |why: &str| TaskResult::HalfDone {
        why: why.into(),
        changes: "cs_1".into(),
    };
    let stopped = answer(
        json!({"code": "cancelled", "message": "The owner stopped it", "effect": "none",
        "detail": {"reason": "owner", "changes": "cs_1"}}),
    );
    assert_eq!(stopped, half("cancelled: The owner stopped it"));
    let spent = json!({"limit": "maxTokens", "changes": {"id": "cs_1", "added": 1}});
    let spent = result_of(&json!({"ok": true, "output": spent}));
    assert_eq!(spent, half("ended at its maxTokens"));
    let moved = json!({"text": "", "changes": {"id": "cs_1", "added": 1, "edited": 2, "removed": 1, "modes": 0, "renamed": 1}});
    let TaskResult::Done { changes, .. } = result_of(&json!({"ok": true, "output": moved})) else {
        panic!("a run that is done")
    };
    assert_eq!(changes.map(|set| set.files), Some(3));
    let unknown = answer(json!({"code": "outcome_unknown", "message": "?", "effect": "unknown"}));
    assert_eq!(unknown, TaskResult::Unknown("outcome_unknown: ?".into()));
    for lost in [Value::Null, json!({"ok": true, "outputOmitted": true})] {
        assert_eq!(end_of(&lost), RunEnd::Died(LOST), "{lost}");
    }
}
