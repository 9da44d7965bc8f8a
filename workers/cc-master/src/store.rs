//! Boards on the disk: one file for each, in the worker's own folder.
//!
//! ```text
//! change: read ─▶ change ─▶ written whole beside it ─▶ on the disk ─▶ renamed over it
//! ```
//! Invariants: a file is whole or as it was before, whenever the process ends; changes of one process come one after the
//! other; the boards that were made first and are not under way go beyond [`MOST`]; a file that cannot be read costs its own
//! board alone, stays as it is, and is named.
//!
//! Must not know: what a board means to anybody.

use crate::board::{Board, BoardError, BoardId};
use plexus_ipc::worker::durable;
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Boards that are kept.
const MOST: usize = 200;
/// Largest board on the disk, in bytes: what a card shows, and a message for each task, each character in six bytes.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Why a board cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none of that id.
    #[error("there is no board {0}")]
    Unknown(BoardId),
    /// The change is not possible.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// 200 boards are under way.
    #[error("{MOST} boards are under way: wait until one is over")]
    Full,
    /// Its file cannot be read, or is no board.
    #[error(
        "the board {0} cannot be read ({1}); its file, boards/{0}.json of this source's state, is left as it is"
    )]
    Unreadable(BoardId, io::Error),
    /// The disk; nothing was changed.
    #[error("the boards of this source cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The disk failed when the change may have been made.
    #[error("it is not known whether the board was changed: {0}")]
    Unsure(io::Error),
}

/// The boards on the disk.
#[derive(Debug, Default)]
pub(crate) struct StoredBoards {
    /// The newest first.
    pub(crate) boards: Vec<Board>,
    /// The others.
    pub(crate) unread: Vec<Unread>,
}

/// A file that cannot be read as a board.
#[derive(Debug, Serialize)]
pub(crate) struct Unread {
    /// Its name without the ending: a board's id.
    pub(crate) board: String,
    why: String,
}

/// The boards of one source.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl Store {
    /// The boards in `folder`, which need not be there.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let turn = Arc::default();
        Self { folder, turn }
    }

    fn path(&self, id: BoardId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// One board.
    pub(crate) fn get(&self, id: BoardId) -> Result<Board, StoreError> {
        match read(&self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Unknown(id)),
            board => board.map_err(|error| StoreError::Unreadable(id, error)),
        }
    }

    /// All boards.
    pub(crate) fn all(&self) -> Result<StoredBoards, StoreError> {
        let mut found = StoredBoards::default();
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            listed => listed?,
        };
        for entry in listed {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                match read(&path) {
                    // It went between the two looks.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Ok(board) => found.boards.push(board),
                    Err(error) => found.unread.push(Unread {
                        board: path
                            .file_stem()
                            .unwrap_or_default()
                            .to_string_lossy()
                            .into(),
                        why: error.to_string(),
                    }),
                }
            }
        }
        let newest = |board: &Board| std::cmp::Reverse((board.made, board.id));
        found.boards.sort_by_key(newest);
        found.unread.sort_by(|a, b| a.board.cmp(&b.board));
        Ok(found)
    }

    /// Keeps a new board; on the disk when this returns.
    pub(crate) fn add(&self, board: &Board) -> Result<(), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.all()?.boards;
        let mut surplus = Vec::new();
        while kept.len() >= MOST {
            let oldest = kept.iter().rposition(|board| !board.is_under_way());
            surplus.push(kept.remove(oldest.ok_or(StoreError::Full)?));
        }
        self.write(board)?;
        for board in surplus {
            if let Err(error) = fs::remove_file(self.path(board.id)) {
                tracing::warn!(%error, board = %board.id, "an old board cannot be removed");
            }
        }
        Ok(())
    }

    /// Changes a board; what it is then is on the disk when this returns.
    pub(crate) fn change<T>(
        &self,
        id: BoardId,
        change: impl FnOnce(&mut Board) -> Result<T, BoardError>,
    ) -> Result<(Board, T), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut board = self.get(id)?;
        let changed = change(&mut board)?;
        self.write(&board)?;
        Ok((board, changed))
    }

    fn write(&self, board: &Board) -> Result<(), StoreError> {
        let path = self.path(board.id);
        durable::make_folder(&self.folder)?;
        let board = serde_json::to_vec(board).map_err(io::Error::from)?;
        durable::write_beside(&path, &board)?;
        let folder = File::open(&self.folder)?;
        let renamed =
            fs::rename(path.with_extension("new"), &path).and_then(|()| folder.sync_all());
        renamed.map_err(StoreError::Unsure)
    }
}

fn read(path: &Path) -> io::Result<Board> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Orchestration;
    use plexus_ipc::worker::SourceError;
    use plexus_protocol::{Digest, Effect, Timestamp};

    fn board(made: u64) -> Board {
        let agent = "codex.run".parse().unwrap();
        Board::of_one(
            BoardId::fresh(),
            "Say hello.".into(),
            agent,
            Timestamp(made),
        )
        .unwrap()
    }

    fn orchestration() -> Orchestration {
        Orchestration {
            approval: Digest([1; 32]),
            agents: vec!["codex.run".parse().unwrap()],
            parallel: 1,
            task: None,
            began: Timestamp(0),
            state: crate::board::Progress::UnderWay,
            budget: crate::board::Budget::default(),
        }
    }

    #[test]
    fn half_written_board_is_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("boards"));
        let board = board(1);
        store.add(&board).unwrap();
        fs::write(store.path(board.id).with_extension("new"), "{\"id\":").unwrap();
        assert_eq!(store.get(board.id).unwrap(), board);
        assert_eq!(store.all().unwrap().boards, std::slice::from_ref(&board));
        let refused = store.change(board.id, |board| board.stop());
        assert!(matches!(
            refused,
            Err(StoreError::Board(BoardError::NotUnderWay))
        ));
        let (changed, ()) = store
            .change(board.id, |board| board.begin(orchestration()))
            .unwrap();
        assert_eq!(store.get(board.id).unwrap(), changed);
        let none = BoardId::fresh();
        assert!(matches!(store.get(none), Err(StoreError::Unknown(id)) if id == none));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn boards_survive_a_power_cut() {
        let (first, at) = (board(1), |top: &Path| Store::new(top.join("boards")));
        let id = first.id;
        let begun = |top: &Path| at(top).get(id).is_ok_and(|board| board.is_under_way());
        let before = |top: &Path| at(top).add(&first).unwrap();
        let begin = |top: &Path| at(top).change(id, |board| board.begin(orchestration()));
        plexus_power_cut::holds(
            before,
            |disk, ()| drop(begin(&disk.path()).unwrap()),
            begun,
            &[],
        );
        let added = |top: &Path| at(top).get(id).is_ok();
        plexus_power_cut::holds(|_| (), |disk, ()| before(&disk.path()), added, &[]);
    }

    #[test]
    fn oldest_board_that_is_over_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        let boards: Vec<Board> = (0..MOST as u64).map(board).collect();
        for board in &boards {
            store.add(board).unwrap();
        }
        store
            .change(boards[0].id, |board| board.begin(orchestration()))
            .unwrap();
        store.add(&board(1_000)).unwrap();
        assert!(store.get(boards[0].id).is_ok(), "it is under way");
        let gone = store.get(boards[1].id);
        assert!(matches!(gone, Err(StoreError::Unknown(id)) if id == boards[1].id));
        assert_eq!(store.all().unwrap().boards.len(), MOST);
    }

    #[test]
    fn damaged_file_costs_its_own_board_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        let (whole, cut) = (board(1), board(2));
        store.add(&whole).unwrap();
        store.add(&cut).unwrap();
        let text = fs::read(store.path(cut.id)).unwrap();
        fs::write(store.path(cut.id), &text[..text.len() / 2]).unwrap();
        let found = store.all().unwrap();
        assert_eq!(found.boards, [whole]);
        let named: Vec<_> = found.unread.iter().map(|it| it.board.clone()).collect();
        assert_eq!(named, [cut.id.to_string()]);
        let refused = store.change(cut.id, |board| board.begin(orchestration()));
        assert!(matches!(refused, Err(StoreError::Unreadable(id, _)) if id == cut.id));
        store.add(&board(3)).unwrap();
        let left = fs::read(store.path(cut.id)).unwrap();
        assert_eq!(left, text[..text.len() / 2], "it stays for the owner");
    }

    #[test]
    fn failed_rename_leaves_the_effect_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("boards"));
        let new = board(1);
        fs::create_dir_all(store.path(new.id).join("in its place")).unwrap();
        assert!(matches!(store.add(&new), Err(StoreError::Unsure(_))));
        let told = SourceError::from(store.add(&new).unwrap_err());
        assert_eq!(told.effect, Effect::Unknown);
        // The control: where not even its folder can be made, nothing was done.
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let told = SourceError::from(Store::new(file.join("boards")).add(&new).unwrap_err());
        assert_eq!(told.effect, Effect::None);
    }
}
