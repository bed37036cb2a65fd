//! Reads: the calls of a plan, and the state that their answers make.

use std::sync::Arc;
use std::time::Duration;

use super::plan::{Step, steps};
use super::together::{Boxed, all, first};
use super::{CALL_TIMEOUT, Remote, deadline, options};
use crate::catalog::WatchKey;
use crate::catalog::fragment::Fragment;
use crate::clock;
use crate::directory::wire::read_answer;
use crate::directory::{Answer, ReadError};
use crate::types::{Consistency, Index, RequestContext};

/// The answer to a step of a plan, with its place in that.
type Placed = (usize, Vec<u8>);

impl Remote {
    /// Reads what `keys` cover, waiting for a change of any if the context says so.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn read(
        &self,
        context: &RequestContext,
        keys: &[WatchKey],
    ) -> Result<Answer, ReadError> {
        let steps = steps(keys);
        let waits = context.index.filter(|index| *index > Index::ZERO);
        let early = match waits {
            Some(index) => Some(self.wait_for(context, &steps, index).await?),
            None => None,
        };
        let is_early = |place| early.as_ref().is_some_and(|(known, _)| *known == place);
        let rest = steps.iter().enumerate();
        let rest = rest.filter(|(place, _)| !is_early(*place));
        let rest = rest.map(|(place, step)| -> Boxed<'_, Result<_, ReadError>> {
            Box::pin(async move { Ok((place, self.ask_step(context, step).await?)) })
        });
        let mut answers = all(rest.collect()).await?;
        answers.extend(early);
        assemble(&steps, &answers)
    }

    /// Adds where nodes are to an answer that does not say so; of nodes that are not in it only if
    /// `others`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn locate_answer(
        &self,
        context: &RequestContext,
        answer: Answer,
        others: bool,
    ) -> Result<Answer, ReadError> {
        let context = RequestContext {
            consistency: Consistency::Stale,
            ..context.clone()
        };
        let octets = self.ask_step(&context, &Step::locations()).await?;
        let mut places = Fragment::default();
        read_answer(&octets, Step::locations().rows, &mut places)?;
        let places = places.finish(answer.index);
        let locations = places.locations();
        Ok(Answer {
            state: Arc::new(answer.state.located(locations, others)),
            ..answer
        })
    }

    /// The answer to the first step whose index is above `index`, or whose wait is over.
    async fn wait_for(
        &self,
        context: &RequestContext,
        steps: &[Step<'_>],
        index: Index,
    ) -> Result<Placed, ReadError> {
        let wait = self.wait(context);
        let deadline = clock::now() + wait + wait / 16 + CALL_TIMEOUT;
        let waiting = steps.iter().enumerate().filter(|(_, step)| step.counts);
        let waiting = waiting.map(|(place, step)| -> Boxed<'_, _> {
            let options = options(context, index, wait);
            let request = step.request(self.datacenter(context), options);
            Box::pin(async move {
                let caller = &self.servers.waits;
                let asked = self.ask(caller, step.method, &request, deadline).await;
                (place, asked)
            })
        });
        let (_, (place, asked)) = first(waiting.collect()).await;
        Ok((place, asked?))
    }

    /// Asks without waiting.
    async fn ask_step(
        &self,
        context: &RequestContext,
        step: &Step<'_>,
    ) -> Result<Vec<u8>, ReadError> {
        let options = options(context, Index::ZERO, Duration::ZERO);
        let request = step.request(self.datacenter(context), options);
        let caller = &self.servers.calls;
        self.ask(caller, step.method, &request, deadline(context))
            .await
    }

    /// How long the servers are asked to wait; they add the jitter.
    fn wait(&self, context: &RequestContext) -> Duration {
        let asked = context.wait.filter(|wait| !wait.is_zero());
        let asked = asked.unwrap_or(self.config.wait_default);
        asked.min(self.config.wait_max)
    }
}

/// One state of all answers, as fresh as the oldest of them.
///
/// # Errors
/// An answer cannot be read.
fn assemble(steps: &[Step<'_>], answers: &[Placed]) -> Result<Answer, ReadError> {
    let mut fragment = Fragment::default();
    let (mut index, mut known_leader, mut last_contact) = (Index(1), true, Duration::ZERO);
    for (place, octets) in answers {
        let Some(step) = steps.get(*place) else {
            continue;
        };
        let meta = read_answer(octets, step.rows, &mut fragment)?;
        if step.counts {
            index = index.max(Index(meta.index));
        }
        known_leader &= meta.known_leader;
        let contact = u64::try_from(meta.last_contact).unwrap_or(0);
        last_contact = last_contact.max(Duration::from_nanos(contact));
    }
    Ok(Answer {
        state: Arc::new(fragment.finish(index)),
        index,
        known_leader,
        last_contact,
    })
}
