//! Boards on the disk: one file for each, in the worker's own folder.
//!
//! ```text
//! change: read ─▶ change ─▶ written whole beside it ─▶ on the disk ─▶ renamed over it
//! ```
//! Invariants: a file is whole or as it was before, whenever the process ends; changes of one process come one after the
//! other; the boards that were made first and are not under way go beyond [`MOST`].
//!
//! Must not know: what a board means to anybody.

use crate::board::{Board, BoardError, BoardId};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
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
    /// The disk, or a file that is no board.
    #[error("the boards of this source cannot be read or written: {0}")]
    Io(#[from] io::Error),
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
            board => Ok(board?),
        }
    }

    /// All boards, the newest first.
    pub(crate) fn all(&self) -> Result<Vec<Board>, StoreError> {
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut boards = Vec::new();
        for entry in listed {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                match read(&path) {
                    // It went between the two looks.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    board => boards.push(board?),
                }
            }
        }
        boards.sort_by_key(|board: &Board| std::cmp::Reverse((board.made, board.id)));
        Ok(boards)
    }

    /// Keeps a new board; on the disk when this returns.
    pub(crate) fn add(&self, board: &Board) -> Result<(), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.all()?;
        let mut surplus = Vec::new();
        while kept.len() >= MOST {
            let oldest = kept.iter().rposition(|board| !board.is_under_way());
            surplus.push(kept.remove(oldest.ok_or(StoreError::Full)?));
        }
        self.write(board)?;
        for board in surplus {
            fs::remove_file(self.path(board.id))?;
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

    fn write(&self, board: &Board) -> io::Result<()> {
        let folder = &self.folder;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let path = self.path(board.id);
        let fresh = path.with_extension("new");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&serde_json::to_vec(board)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()
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
    use plexus_protocol::{Digest, Timestamp};

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
        assert_eq!(store.all().unwrap(), std::slice::from_ref(&board));
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
        assert!(store.get(boards[1].id).is_err());
        assert_eq!(store.all().unwrap().len(), MOST);
    }
}
