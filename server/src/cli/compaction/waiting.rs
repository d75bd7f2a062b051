//! Waiting for a topic to be published: what to say and to do at each look. Pure, so that hours pass at once in tests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::super::output::{counted, grouped};

/// How long nothing may change before the request is repeated. Who compacts may have been replaced by another broker, or
/// may have fulfilled the request as far as was possible at the time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How far a partition has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// First offset that is not in object storage.
    pub uploaded: i64,
    /// First offset that is not in table files.
    pub published: i64,
}

/// How far all have come, as far as they shall come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Partitions there are.
    pub partitions: usize,
    /// Those that are published.
    pub published: usize,
    /// Records that are to be published.
    pub left: u64,
    /// Those of them that are not in object storage yet, and so cannot be.
    pub unuploaded: u64,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (published, partitions) = (self.published, self.partitions);
        let left = counted(self.left, "record");
        write!(
            f,
            "{published} of {partitions} partitions published, {left} left"
        )?;
        match self.unuploaded {
            0 => Ok(()),
            some => write!(f, " ({} of them not uploaded yet)", grouped(some)),
        }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: all is published.
    Done,
    /// Look again.
    Wait,
    /// Ask for it to be published once more, then look again.
    AskAgain,
    /// There was time enough.
    GiveUp(Standing),
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What has changed, for people.
    pub news: Option<String>,
    /// What to do.
    pub next: Next,
}

/// What is waited for, and what was seen of it.
#[derive(Debug)]
pub struct Waiting {
    /// Where each partition ended at the beginning.
    goal: BTreeMap<i32, i64>,
    /// As far as was ever told: no partition goes back, though a new leader may know less for a moment.
    reached: BTreeMap<i32, Reached>,
    timeout: Duration,
    last: Option<Standing>,
    /// When something changed last, or was asked for.
    stirred: Duration,
}

impl Waiting {
    /// Until each partition is published up to `goal`, at most for `timeout`.
    pub fn new(goal: BTreeMap<i32, i64>, timeout: Duration) -> Self {
        Self {
            goal,
            reached: BTreeMap::new(),
            timeout,
            last: None,
            stirred: Duration::ZERO,
        }
    }

    /// Takes in how far partitions have come `now`, counted from the beginning. Some may be missing.
    pub fn look(&mut self, now: Duration, reached: &BTreeMap<i32, Reached>) -> Look {
        for (index, found) in reached {
            let known = self.reached.entry(*index).or_default();
            known.uploaded = known.uploaded.max(found.uploaded);
            known.published = known.published.max(found.published);
        }
        let standing = self.standing();
        let before = self.last.replace(standing);
        let changed = before != Some(standing);
        let next = self.next(now, &standing, changed, before.is_none());
        if changed || next == Next::AskAgain {
            self.stirred = now;
        }
        Look {
            news: changed.then(|| standing.to_string()),
            next,
        }
    }

    fn next(&self, now: Duration, standing: &Standing, changed: bool, is_first: bool) -> Next {
        if standing.published == standing.partitions {
            return Next::Done;
        }
        if now >= self.timeout {
            return Next::GiveUp(*standing);
        }
        // A request ends with what could be published when it was fulfilled. So when something was, and all the rest is
        // in object storage, that rest is asked for. While it is still coming in, that would make many small files.
        let rest_is_ready = changed && !is_first && standing.unuploaded == 0;
        let stands_still = now.saturating_sub(self.stirred) >= ASK_AGAIN_AFTER;
        match rest_is_ready || (stands_still && !changed) {
            true => Next::AskAgain,
            false => Next::Wait,
        }
    }

    fn standing(&self) -> Standing {
        let each = self.goal.iter().map(|(index, goal)| {
            let reached = self.reached.get(index).copied().unwrap_or_default();
            let left = |from: i64| u64::try_from(goal - from).unwrap_or_default();
            let published = left(reached.published);
            // What was published was uploaded, whatever is known of that.
            (published, left(reached.uploaded).min(published))
        });
        let nothing = Standing {
            partitions: self.goal.len(),
            published: 0,
            left: 0,
            unuploaded: 0,
        };
        each.fold(nothing, |sum, (left, unuploaded)| Standing {
            published: sum.published + usize::from(left == 0),
            left: sum.left + left,
            unuploaded: sum.unuploaded + unuploaded,
            ..sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(600);

    fn waiting(goal: &[i64]) -> Waiting {
        Waiting::new((0..).zip(goal.iter().copied()).collect(), TIMEOUT)
    }

    /// Uploaded and published ends by partition.
    fn look(waiting: &mut Waiting, second: u64, reached: &[(i64, i64)]) -> (Option<String>, Next) {
        let reached = (0..).zip(reached).map(|(index, (uploaded, published))| {
            let (uploaded, published) = (*uploaded, *published);
            (
                index,
                Reached {
                    uploaded,
                    published,
                },
            )
        });
        let look = waiting.look(Duration::from_secs(second), &reached.collect());
        (look.news, look.next)
    }

    #[test]
    fn it_ends_when_each_partition_has_reached_its_goal() {
        let mut waiting = waiting(&[10, 0, 2_000_000]);
        let (news, next) = look(&mut waiting, 0, &[(10, 0), (0, 0), (2_000_000, 0)]);
        let said = "1 of 3 partitions published, 2,000,010 records left";
        assert_eq!((news.as_deref(), next), (Some(said), Next::Wait));
        let (news, next) = look(&mut waiting, 1, &[(12, 10), (0, 0), (2_000_500, 1_999_999)]);
        let said = "2 of 3 partitions published, 1 record left";
        assert_eq!((news.as_deref(), next), (Some(said), Next::AskAgain));
        let (news, next) = look(&mut waiting, 2, &[(12, 12), (0, 0), (2_000_500, 2_000_000)]);
        let said = "3 of 3 partitions published, 0 records left";
        assert_eq!((news.as_deref(), next), (Some(said), Next::Done));
    }

    #[test]
    fn nothing_to_publish_is_published() {
        assert_eq!(
            look(&mut waiting(&[0, 0]), 0, &[(0, 0), (0, 0)]).1,
            Next::Done
        );
        // Even if the leaders of empty partitions do not answer.
        assert_eq!(look(&mut waiting(&[0]), 0, &[]).1, Next::Done);
    }

    #[test]
    fn what_has_not_changed_is_not_said_again() {
        let mut waiting = waiting(&[10]);
        assert!(look(&mut waiting, 0, &[(10, 0)]).0.is_some());
        assert_eq!(look(&mut waiting, 1, &[(10, 0)]), (None, Next::Wait));
        // Beyond the goal nothing counts.
        let mut waiting = waiting_at_goal_minus_one();
        assert_eq!(look(&mut waiting, 1, &[(20, 9)]), (None, Next::Wait));
    }

    fn waiting_at_goal_minus_one() -> Waiting {
        let mut waiting = waiting(&[10]);
        look(&mut waiting, 0, &[(10, 9)]);
        waiting
    }

    #[test]
    fn a_leader_that_knows_less_or_nothing_takes_nothing_back() {
        let mut waiting = waiting(&[10, 10]);
        look(&mut waiting, 0, &[(10, 10), (10, 5)]);
        assert_eq!(look(&mut waiting, 1, &[(4, 4)]), (None, Next::Wait));
        assert_eq!(look(&mut waiting, 2, &[(0, 0), (10, 10)]).1, Next::Done);
    }

    #[test]
    fn the_request_is_repeated_while_nothing_changes() {
        let mut waiting = waiting(&[10]);
        assert_eq!(look(&mut waiting, 5, &[(10, 0)]).1, Next::Wait);
        let asked: Vec<_> = (6..600)
            .filter(|second| look(&mut waiting, *second, &[(10, 0)]).1 == Next::AskAgain)
            .collect();
        assert_eq!(asked, [65, 125, 185, 245, 305, 365, 425, 485, 545]);
    }

    #[test]
    fn the_rest_is_asked_for_when_it_is_ready_and_not_before() {
        let mut waiting = waiting(&[10]);
        assert_eq!(look(&mut waiting, 0, &[(4, 0)]).1, Next::Wait);
        let (news, next) = look(&mut waiting, 1, &[(6, 4)]);
        let said = "0 of 1 partitions published, 6 records left (4 of them not uploaded yet)";
        assert_eq!((news.as_deref(), next), (Some(said), Next::Wait));
        assert_eq!(look(&mut waiting, 2, &[(10, 4)]).1, Next::AskAgain);
        assert_eq!(look(&mut waiting, 3, &[(10, 4)]).1, Next::Wait);
        assert_eq!(look(&mut waiting, 4, &[(10, 8)]).1, Next::AskAgain);
    }

    #[test]
    fn patience_has_an_end() {
        let mut waiting = waiting(&[10]);
        look(&mut waiting, 0, &[(10, 0)]);
        look(&mut waiting, 599, &[(10, 0)]);
        let standing = Standing {
            partitions: 1,
            published: 0,
            left: 10,
            unuploaded: 0,
        };
        assert_eq!(
            look(&mut waiting, 600, &[(10, 0)]).1,
            Next::GiveUp(standing)
        );
        // What is done at the last moment is done.
        assert_eq!(look(&mut waiting, 601, &[(10, 10)]).1, Next::Done);
    }
}
