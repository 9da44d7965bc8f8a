//! One way of reading Things, whichever the owner chose. Everything here blocks.
//!
//! Must not know: what is read for whom.

#[cfg(not(target_os = "macos"))]
use crate::fake::Fake;
use crate::{
    database::{Base, Database},
    failure::Failure,
    item::{Container, Project, Tag, Todo, View},
    script::Script,
};
use chrono::NaiveDate;

/// One way of reading Things.
#[derive(Debug)]
pub enum Reads {
    /// The database.
    Database(Database),
    /// Apple events.
    Script(Script),
    /// Elsewhere than on macOS.
    #[cfg(not(target_os = "macos"))]
    #[doc(hidden)]
    Fake(Fake),
}

impl Reads {
    fn on<T>(
        &self,
        base: impl Fn(&Base) -> Result<T, Failure>,
        script: impl FnOnce(&Script) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self {
            Self::Database(database) => database.read(base),
            Self::Script(things) => script(things),
            #[cfg(not(target_os = "macos"))]
            Self::Fake(fake) => fake.read(base),
        }
    }

    /// The open to-dos, or those of one list, in the order that Things shows them.
    ///
    /// # Errors
    /// Why they cannot be read; [`Failure::Over`] once `is_over` says so.
    pub fn todos(
        &self,
        view: Option<View>,
        today: NaiveDate,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Vec<Todo>, Failure> {
        self.on(
            |base| base.todos(view, today, is_over),
            |script| script.todos(view),
        )
    }

    /// The to-do of this id.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn todo(&self, id: &str) -> Result<Option<Todo>, Failure> {
        self.on(|base| base.todo(id), |script| script.todo(id))
    }

    /// To-dos of this title, made in this second.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn made(&self, title: &str, second: i64) -> Result<Vec<Todo>, Failure> {
        self.on(
            |base| base.made(title, second),
            |script| script.made(title, second),
        )
    }

    /// The open projects.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn projects(&self) -> Result<Vec<Project>, Failure> {
        self.on(Base::projects, Script::projects)
    }

    /// The areas.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn areas(&self) -> Result<Vec<Container>, Failure> {
        self.on(Base::areas, Script::areas)
    }

    /// The tags.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn tags(&self) -> Result<Vec<Tag>, Failure> {
        self.on(Base::tags, Script::tags)
    }
}
