//! Alias: as healthy as a service or node that it follows.

use std::time::Duration;

use super::{Deadline, critical, passing, report, text};
use crate::health::Report;
use crate::types::Status;

/// Longest time for one look.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Looks up what an alias follows.
pub trait Probe: Sync {
    /// The checks that decide about `service` on `node`, or about the node alone where `service` is
    /// empty; an empty `node` is this one. The alias itself is not among them.
    ///
    /// # Errors
    /// A text that says why nobody knows.
    fn look(
        &self,
        node: &str,
        service: &str,
    ) -> impl Future<Output = Result<Followed, String>> + Send;
}

/// What an alias follows, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// There is no such node, or no such service on it; the text names it.
    Unknown(String),
    /// Its checks.
    Known(Vec<FollowedCheck>),
}

/// A check that an alias follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedCheck {
    /// Its name.
    pub name: Box<str>,
    /// Its status.
    pub status: Status,
    /// Its output.
    pub output: Box<str>,
}

pub(super) async fn run(
    probe: &impl Probe,
    node: &str,
    service: &str,
    octets_max: usize,
) -> Report {
    let late = |limit| format!("no answer about what is followed within {limit:?}");
    let deadline = Deadline::after(LOOK_LIMIT);
    match deadline.or_late(probe.look(node, service), late).await {
        Ok(Followed::Known(checks)) => worst(&checks, octets_max),
        Ok(Followed::Unknown(what)) => critical(what),
        Err(problem) => critical(problem),
    }
}

/// What the worst check says; of several, the first. Aliases that follow each other quote each
/// other, which ends where the output does.
fn worst(checks: &[FollowedCheck], octets_max: usize) -> Report {
    let failing = checks
        .iter()
        .rev()
        .filter(|check| check.status > Status::Passing)
        .max_by_key(|check| check.status);
    match failing {
        Some(check) => {
            let (name, output) = (&check.name, &check.output);
            let said = format!("Aliased check {name:?} failing: {output}");
            report(check.status, text(said.as_bytes(), octets_max))
        }
        None if checks.is_empty() => passing("No checks found."),
        None => passing("All checks passing."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, status: Status) -> FollowedCheck {
        FollowedCheck {
            name: name.into(),
            status,
            output: "out".into(),
        }
    }

    #[test]
    fn the_worst_check_decides() {
        let (bad, warning) = (Status::Critical, Status::Warning);
        let checks = [
            check("a", Status::Passing),
            check("b", warning),
            check("c", bad),
            check("d", bad),
        ];
        let said = |checks: &[FollowedCheck]| {
            let report = worst(checks, 4_096);
            format!("{} {}", report.status, report.output)
        };
        assert_eq!(said(&checks), "critical Aliased check \"c\" failing: out");
        assert_eq!(
            said(&checks[..2]),
            "warning Aliased check \"b\" failing: out"
        );
        assert_eq!(said(&checks[..1]), "passing All checks passing.");
        assert_eq!(said(&[]), "passing No checks found.");
    }
    #[test]
    fn aliases_that_follow_each_other_come_to_an_end() {
        let mut output = Box::<str>::default();
        for _ in 0..1_000 {
            let quoted = FollowedCheck {
                output: output.clone(),
                ..check("a", Status::Critical)
            };
            output = worst(&[quoted], 4_096).output;
        }
        let quoted = FollowedCheck {
            output: output.clone(),
            ..check("a", Status::Critical)
        };
        assert_eq!(worst(&[quoted], 4_096).output, output);
        assert_eq!(output.len(), 4_096);
    }
}
