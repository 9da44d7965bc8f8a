//! Boards: what makes one, how its tasks go, and that no history breaks its invariants.

use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1);

fn agent() -> CapabilityId {
    "codex.run".parse().unwrap()
}

fn draft(id: &str, needs: &[&str]) -> Draft {
    Draft {
        id: id.into(),
        title: format!("Do {id}"),
        prompt: format!("Please do {id}."),
        agent: agent(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
    }
}

fn board(drafts: Vec<Draft>) -> Result<Board, BoardError> {
    let sets = ChangeSets::default();
    Board::new(BoardId::fresh(), "All of it".into(), drafts, sets, NOW)
}

/// Two that need nothing, one that needs both, one behind it.
fn diamond() -> Board {
    let drafts = vec![
        draft("last", &["join"]),
        draft("join", &["left", "right"]),
        draft("left", &[]),
        draft("right", &[]),
    ];
    board(drafts).unwrap()
}

fn orchestration(task: Option<&str>) -> Orchestration {
    Orchestration {
        approval: Digest([7; 32]),
        agents: vec![agent()],
        parallel: 2,
        task: task.map(str::to_owned),
        began: NOW,
        state: Progress::UnderWay,
        budget: Budget::default(),
    }
}

fn done(message: &str) -> TaskResult {
    TaskResult::Done {
        message: message.into(),
        changes: None,
    }
}

/// A run of a task that ended so.
#[track_caller]
fn end(board: &mut Board, task: &str, result: TaskResult) {
    board.finish(task, result, Used::default(), NOW).unwrap();
}

/// A run of a task that does its work.
#[track_caller]
fn work(board: &mut Board, task: &str) {
    board.start(task, NOW).unwrap();
    end(board, task, done("Ok."));
}

fn ready(board: &Board) -> Vec<&str> {
    let ready = board.ready().into_iter();
    ready.map(|task| task.draft.id.as_str()).collect()
}

#[test]
fn board_with_wrong_needs_is_refused() {
    let refused = |drafts| board(drafts).unwrap_err();
    assert_eq!(refused(vec![]), BoardError::Count);
    let many = (0..=MAX_TASKS).map(|n| draft(&n.to_string(), &[]));
    assert_eq!(refused(many.collect()), BoardError::Count);
    let twice = vec![draft("a", &[]), draft("a", &[])];
    assert_eq!(refused(twice), BoardError::Twice("a".into()));
    let unknown = refused(vec![draft("a", &["b"])]).to_string();
    assert_eq!(unknown, "the task a needs b, which is not on the board");
    let circle = vec![
        draft("a", &["b"]),
        draft("b", &["a"]),
        draft("free", &[]),
        draft("self", &["self"]),
    ];
    let named = ["a", "b", "self"].map(str::to_owned).to_vec();
    assert_eq!(refused(circle), BoardError::Circle(named));
    let mut long = draft("a", &[]);
    long.prompt = "x".repeat(MAX_OUTLINE);
    assert_eq!(refused(vec![long]), BoardError::TooLarge);
}

#[test]
fn task_starts_when_all_it_needs_is_done() {
    let mut board = diamond();
    assert_eq!(ready(&board), [""; 0], "nothing is under way");
    board.begin(orchestration(None)).unwrap();
    assert_eq!(ready(&board), ["left", "right"]);
    board.start("left", NOW).unwrap();
    end(&mut board, "left", done("Left."));
    assert_eq!(ready(&board), ["right"]);
    let early = board.start("join", NOW).unwrap_err().to_string();
    assert_eq!(early, "the task join is waiting");
    board.start("right", NOW).unwrap();
    end(&mut board, "right", done("Right."));
    assert_eq!(ready(&board), ["join"]);
    let prompt = board.prompt_of(board.task("join").unwrap());
    assert!(prompt.starts_with("Please do join.\n\n"), "{prompt}");
    let answers = "\nleft:\nLeft.\n\nright:\nRight.\n";
    assert!(prompt.ends_with(answers), "{prompt}");
}

#[test]
fn failure_skips_what_needs_it_until_it_is_redone() {
    let mut board = diamond();
    board.begin(orchestration(None)).unwrap();
    for task in ["left", "right"] {
        board.start(task, NOW).unwrap();
    }
    end(&mut board, "left", done("Left."));
    end(&mut board, "right", TaskResult::Unknown("?".into()));
    let states = |board: &Board| -> Vec<TaskState> {
        let of = board.states();
        ["left", "right", "join", "last"].map(|id| of[id]).to_vec()
    };
    use TaskState::{Done, Ready, Skipped, Unknown, Waiting};
    assert_eq!(states(&board), [Done, Unknown, Skipped, Skipped]);
    assert_eq!(board.left_for(None, &[agent()]), Err(BoardError::UnderWay));
    board.end(None, NOW).unwrap();
    assert_eq!(board.state(), BoardState::Unfinished);

    // One task alone, then all the rest.
    let skipped = board.begin(orchestration(Some("join"))).unwrap_err();
    assert_eq!(skipped.to_string(), "the task join is skipped");
    board.begin(orchestration(Some("right"))).unwrap();
    assert_eq!(states(&board), [Done, Ready, Waiting, Waiting]);
    work(&mut board, "right");
    assert_eq!(board.task("right").unwrap().attempts, 2);
    assert_eq!(ready(&board), [""; 0], "it is about one task");
    board.end(None, NOW).unwrap();
    board.begin(orchestration(None)).unwrap();
    for task in ["join", "last"] {
        work(&mut board, task);
    }
    board.end(None, NOW).unwrap();
    assert_eq!(board.state(), BoardState::Done);
    let again = board.begin(orchestration(None));
    assert_eq!(again, Err(BoardError::NothingLeft));
}

#[test]
fn orchestration_names_the_capabilities_of_its_tasks() {
    let mut board = diamond();
    let mut other = orchestration(None);
    other.agents = vec!["claudecode.run".parse().unwrap()];
    let refused = board.begin(other).unwrap_err().to_string();
    let unnamed = "the task last is for codex.run, which `agents` does not name";
    assert_eq!(refused, unnamed);
    assert_eq!(board.state(), BoardState::New);
}

#[test]
fn long_answers_share_what_fits_a_prompt() {
    let mut board = diamond();
    board.begin(orchestration(None)).unwrap();
    for task in ["left", "right"] {
        board.start(task, NOW).unwrap();
        end(&mut board, task, done(&"é".repeat(40_000)));
    }
    board.tasks[1].draft.prompt = "y".repeat(28_000);
    let prompt = board.prompt_of(board.task("join").unwrap());
    let length = prompt.chars().count();
    assert!((31_900..=32_000).contains(&length), "{length}");
    assert_eq!(prompt.matches(" (cut)\n").count(), 2);
}

#[test]
fn outline_shows_prompts_below_lines_of_ours() {
    let mut drafts = vec![draft("b", &["a"]), draft("a", &[])];
    drafts[1].prompt = "One.\nb (codex.run):\n".into();
    let board = board(drafts).unwrap();
    let outline = "goal:\n    All of it\n\
                   \na (codex.run):\n    Do a\n    One.\n    b (codex.run):\n\
                   \nb (codex.run, after a):\n    Do b\n    Please do b.\n";
    assert_eq!(board.outline(|_| true), outline);
}

#[derive(Clone, Debug)]
enum Act {
    Begin(Option<usize>),
    Start(usize),
    Named(usize),
    PutBack(usize),
    Finish(usize, u8),
    Suspend(bool),
    Stop,
    End,
}

fn act() -> impl Strategy<Value = Act> {
    let task = || 0..6usize;
    prop_oneof![
        proptest::option::of(task()).prop_map(Act::Begin),
        task().prop_map(Act::Start),
        task().prop_map(Act::Named),
        task().prop_map(Act::PutBack),
        (task(), 0..3u8).prop_map(|(task, result)| Act::Finish(task, result)),
        any::<bool>().prop_map(Act::Suspend),
        Just(Act::Stop),
        Just(Act::End),
    ]
}

fn carried(board: &mut Board, act: &Act) -> Result<(), BoardError> {
    let id = |task: &usize| task.to_string();
    match act {
        Act::Begin(task) => board.begin(orchestration(task.as_ref().map(id).as_deref())),
        Act::Start(task) => board.start(&id(task), NOW),
        Act::Named(task) => board.named(&id(task), "run".into()),
        Act::PutBack(task) => board.put_back(&id(task)),
        Act::Finish(task, result) => {
            let result = match result {
                0 => done("ok"),
                1 => TaskResult::Failed("no".into()),
                _ => TaskResult::Unknown("?".into()),
            };
            board.finish(&id(task), result, Used::default(), NOW)
        }
        Act::Suspend(on) => board.suspend(*on),
        Act::Stop => board.stop(),
        Act::End => board.end(None, NOW),
    }
}

proptest! {
    #[test]
    fn no_history_breaks_a_board(
        needs in proptest::collection::vec(proptest::collection::vec(0..6usize, 0..3), 6),
        acts in proptest::collection::vec(act(), 0..80),
    ) {
        let named: Vec<Vec<String>> =
            needs.iter().map(|needs| needs.iter().map(ToString::to_string).collect()).collect();
        let drafts = named.iter().enumerate().map(|(task, needs)| {
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            draft(&task.to_string(), &needs)
        });
        // Circles are refused, and nothing else is.
        let Ok(mut board) = board(drafts.collect()) else { return Ok(()) };
        for act in acts {
            let before = board.clone();
            if carried(&mut board, &act).is_err() {
                prop_assert_eq!(&board, &before, "what is refused changes nothing");
                continue;
            }
            let states = board.states();
            prop_assert!(board.running().next().is_none() || board.is_under_way());
            for (task, earlier) in board.tasks.iter().zip(&before.tasks) {
                // A name of a run counts its attempts: it is never given twice.
                let is_start = matches!(act, Act::Start(_)) && task != earlier;
                prop_assert_eq!(task.attempts, earlier.attempts + u32::from(is_start));
                let is_begun = matches!(task.stage, TaskStage::Running { .. });
                let is_met = task.draft.needs.iter().all(|need| states[need.as_str()] == TaskState::Done);
                prop_assert!(!is_begun || is_met, "{:?}", task);
                let was_done = matches!(earlier.stage, TaskStage::Ended { result: TaskResult::Done { .. }, .. });
                prop_assert!(!was_done || task == earlier, "what is done stays");
            }
            let kept: Board = serde_json::from_slice(&serde_json::to_vec(&board).unwrap()).unwrap();
            prop_assert_eq!(&kept, &board);
        }
    }
}

#[test]
fn runs_share_a_budget_and_count_in_full_where_they_say_nothing() {
    let drafts = ["a", "b", "c", "d"].map(|id| draft(id, &[]));
    let mut board = board(drafts.into()).unwrap();
    let budget = Budget {
        max_tokens: Some(100),
        max_cost: None,
    };
    let shared = Orchestration {
        budget,
        ..orchestration(None)
    };
    board.begin(shared).unwrap();
    let share = |board: &Board, task: &str| match &board.task(task).unwrap().stage {
        TaskStage::Running { share, .. } => share.max_tokens,
        other => panic!("{other:?}"),
    };
    for task in ["a", "b"] {
        board.start(task, NOW).unwrap();
        assert_eq!(share(&board, task), Some(50));
    }
    assert!(board.left().is_spent(), "while both go on");
    let used = Used {
        tokens: Some(10),
        cost: None,
    };
    board.finish("a", done("Ok."), used, NOW).unwrap();
    board.start("c", NOW).unwrap();
    assert_eq!(share(&board, "c"), Some(40));
    let unknown = TaskResult::Unknown("gone".into());
    board.finish("c", unknown, Used::default(), NOW).unwrap();
    board.finish("b", done("Ok."), used, NOW).unwrap();
    assert_eq!(board.left().max_tokens, Some(40));
}

#[test]
fn run_begins_with_change_sets_of_its_own_source_alone() {
    let mut board = diamond();
    board.tasks[3].draft.agent = "claudecode.run".parse().unwrap();
    let refused = board.begin(orchestration(None)).unwrap_err();
    let why = "is for claudecode.run, which `agents` does not name";
    assert!(refused.to_string().contains(why), "{refused}");
    let both = Orchestration {
        agents: vec![agent(), "claudecode.run".parse().unwrap()],
        ..orchestration(None)
    };
    board.begin(both).unwrap();
    let made = |id: &str| TaskResult::Done {
        message: "done".into(),
        changes: Some(ChangeSet {
            id: format!("cs_{id}"),
            files: 1,
        }),
    };
    for (at, id) in [(2, "left"), (3, "right"), (4, "join")] {
        board.start(id, NOW).unwrap();
        let ended = board.finish(id, made(id), Used::default(), Timestamp(at));
        ended.unwrap();
    }
    let onto = |board: &Board| board.onto(board.task("last").unwrap());
    assert_eq!(onto(&board), ["cs_left", "cs_join"]);
    assert_eq!(board.onto(board.task("right").unwrap()), [""; 0]);
    // One for all: the last has what the others made.
    board.change_sets = ChangeSets::One;
    assert_eq!((onto(&board), board.free()), (vec!["cs_join".into()], 1));
}
