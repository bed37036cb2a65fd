//! A start: what was kept becomes the state while nobody can ask for it yet.
//!
//! Nothing is shown on the way, so that entries are changed in place, and the views of DNS are made
//! once, from the last state, on all cores.

use crate::types::Index;

use super::super::command::Command;
use super::super::edit::{Broken, Changes};
use super::super::publish;
use super::super::state::State;
use super::{Corrupt, Writer, corrupt};

/// A catalog that is being made ready. Its readers see an empty one before [`Recovery::finish`].
#[derive(Debug)]
pub struct Recovery {
    writer: Writer,
}

impl Writer {
    /// Begins with `state`, as a snapshot gave it, or with an empty one.
    ///
    /// # Errors
    /// [`Corrupt`]: readers have seen another state already.
    pub fn recover(mut self, state: State) -> Result<Recovery, Corrupt> {
        if self.published.applied != Index::ZERO {
            let what = Broken("what was kept comes after something was published");
            return Err(corrupt(state.applied, what));
        }
        self.state = state;
        Ok(Recovery { writer: self })
    }
}

impl Recovery {
    /// Position in the log up to which everything is applied.
    pub fn applied(&self) -> Index {
        self.writer.state.applied
    }

    /// Applies commands that were decided before the start, in log order. Their outcomes were told
    /// then, if anybody is left who wants them.
    ///
    /// # Errors
    /// [`Corrupt`]: this catalog is of no use.
    pub fn apply(&mut self, batch: Vec<(Index, Command)>) -> Result<(), Corrupt> {
        let mut changes = Changes::default();
        for (index, command) in batch {
            self.writer.apply_one(index, command, &mut changes)?;
        }
        Ok(())
    }

    /// Shows what was gathered.
    pub fn finish(mut self) -> Writer {
        let views = publish::whole(&self.writer.state);
        self.writer.reveal(views);
        self.writer
    }
}
