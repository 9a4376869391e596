//! Looks at a map's windows in turns, and sends what has been possible for a while and nobody sent.

use super::tended::{Board, Stand, Told};
use crate::compute::{
    account::Poor,
    audited::tending::{Attendant, Due, drawn_units},
    map::watch::turn,
    windows::{Drawn, WindowStatus, Windows},
};
use alloy_primitives::B256;
use eyre::Result;
use futures::future::join_all;
use std::collections::BTreeMap;

/// Windows that are looked at in one round, at once; the others have their turn in the next. Each may be asked about by dozens of steps.
const LOOKS_MAX: usize = 3;
/// Transactions of one round.
const SENT_MAX: usize = 4;

/// The windows as they are looked at.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    attended: BTreeMap<B256, Attended>,
    /// The window that was looked at last.
    last: B256,
    /// Whether the person read that the account is empty.
    is_poor: bool,
}

#[derive(Debug)]
struct Attended {
    attendant: Attendant,
    /// What the last look found to be done.
    due: Option<Due>,
}

impl Attended {
    const fn new(since_block: u64) -> Self {
        Self { attendant: Attendant::new("step", since_block), due: None }
    }

    /// How the window stands; `None` if it is not announced yet.
    async fn look(&mut self, windows: &Windows, id: B256) -> Result<Option<Told>> {
        self.due = None;
        let drawn = windows.drawn(id).await?;
        if !drawn.window.exists() {
            return Ok(None);
        }
        if drawn.window.is_over() {
            return Ok(Some(Told { stand: ended(&drawn), is_over: true }));
        }
        let look = self.attendant.look(windows, &drawn).await?;
        self.due = look.due;
        let stand = Stand { drawn: look.drawn.unwrap_or_default(), done: look.done, words: look.words };
        Ok(Some(Told { stand, is_over: false }))
    }

    /// If the account is too poor to do it: why.
    async fn send(&mut self, windows: &Windows, id: B256, due: Due) -> Option<String> {
        let error = self.attendant.send(windows, id, due).await.err()?;
        tracing::debug!(window = %id, ?due, error = format!("{error:#}"), "a window does not move on, trying again");
        error.downcast_ref::<Poor>().map(Poor::to_string)
    }
}

impl Rounds {
    /// One round: looks, tells the board, sends.
    pub(super) async fn round(&mut self, windows: &Windows, board: &Board) {
        let open = board.open();
        self.attended.retain(|id, _| open.contains_key(id));
        for (id, since_block) in open {
            self.attended.entry(id).or_insert_with(|| Attended::new(since_block));
        }
        let chosen = turn(&self.attended, &mut self.last, LOOKS_MAX);
        let mut looks = Vec::new();
        for (id, attended) in &mut self.attended {
            if chosen.contains(id) {
                looks.push(look(windows, *id, attended));
            }
        }
        for (id, told) in join_all(looks).await {
            match told {
                Ok(Some(told)) => board.tell(id, told),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(window = %id, error = format!("{error:#}"), "cannot look at a window");
                }
            }
        }
        let mut sent = Vec::new();
        for (id, attended) in &mut self.attended {
            if sent.len() < SENT_MAX
                && let Some(due) = attended.due.take()
            {
                sent.push(attended.send(windows, *id, due));
            }
        }
        let sent = join_all(sent).await;
        let is_sent = sent.iter().any(Option::is_none);
        // Nobody else need do it: the window would stay open for ever.
        match sent.into_iter().flatten().next() {
            Some(poor) if !std::mem::replace(&mut self.is_poor, true) => {
                tracing::warn!("a window of the audit does not move on, trying again: {poor}");
            }
            Some(_) => {}
            None => self.is_poor &= !is_sent,
        }
    }
}

async fn look(windows: &Windows, id: B256, attended: &mut Attended) -> (B256, Result<Option<Told>>) {
    (id, attended.look(windows, id).await)
}

/// Of a window that is over.
fn ended(drawn: &Drawn) -> Stand {
    let is_drawn = drawn.draw.drawn_at != 0;
    let units = if is_drawn { drawn_units(drawn) } else { 0 };
    let words = match drawn.window.status {
        WindowStatus::Convicted => "Audit over: a step was found wrong",
        _ => "Audit over: no step was found wrong",
    };
    Stand { drawn: units, done: units, words: words.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::windows::{Round, Window, tests::drawn};

    #[test]
    fn a_window_that_is_over_says_what_was_found() {
        let over = |status| Drawn { window: Window { status, ..drawn().window }, ..drawn() };
        let stand = ended(&over(WindowStatus::Closed));
        assert_eq!((stand.drawn, stand.done), (10, 10));
        assert_eq!(stand.words, "Audit over: no step was found wrong");
        assert_eq!(ended(&over(WindowStatus::Convicted)).words, "Audit over: a step was found wrong");
        let undrawn = Drawn { draw: Round { drawn_at: 0, ..drawn().draw }, ..over(WindowStatus::Closed) };
        assert_eq!(ended(&undrawn).drawn, 0);
    }
}
