//! The plan for duties of any one kind.

use std::collections::BTreeMap;

use alluvium_common::epoch::BrokerId;

use super::{Assignment, Because, Circumstances, Move, Plan, PlanOptions, Until, Waiting};
use crate::controller::placement::{
    Duty, InFlight, Loads, Movable, Rebalance, RebalanceRules, rebalance,
};
use crate::controller::standing::Standing;
use crate::view::Brokers;

/// A duty and how it stands.
#[derive(Debug, Clone, Copy)]
pub struct Task<D> {
    /// Which.
    pub duty: D,
    /// Whose it is.
    pub leader: BrokerId,
    /// How it stands with that broker.
    pub standing: Standing,
    /// How much of a load it is.
    pub weight: u64,
}

/// Plans for `tasks`, all of their kind, in their order.
///
/// First what nobody has is assigned, then brokers that shall lead nothing are emptied, both at once, since either is
/// urgent and costs its brokers little more for many than for one. Only when nothing is to be assigned are loads made
/// even.
pub fn plan_duties<D: Duty>(
    brokers: &Brokers,
    tasks: &[Task<D>],
    options: &PlanOptions,
    now: &Circumstances<'_>,
) -> Plan<D> {
    let usable = brokers.all().map(|live| &**live);
    let usable = usable.filter(|live| brokers.is_usable(live.record.broker_id));
    let mut planner = Planner {
        brokers,
        now,
        loads: Loads::over(usable),
        in_flight: InFlight::new(options.moves_in_flight_max, options.moves_per_broker_max),
        plan: Plan {
            assignments: Vec::new(),
            moves: Vec::new(),
            waiting: Vec::new(),
            moves_in_flight: 0,
            rebalancing: now.rebalancing,
        },
    };
    for task in tasks {
        planner.count(task);
    }
    for task in tasks {
        planner.assign(task);
    }
    for task in tasks {
        planner.correct_move(task);
    }
    planner.make_even(tasks, options);
    planner.plan.moves_in_flight = planner.in_flight.total();
    planner.plan
}

struct Planner<'a, D: Duty> {
    brokers: &'a Brokers,
    now: &'a Circumstances<'a>,
    loads: Loads<D::Group>,
    in_flight: InFlight,
    plan: Plan<D>,
}

impl<D: Duty> Planner<'_, D> {
    /// Notes whose load a task is as things are. What is about to be given to somebody counts when it is.
    fn count(&mut self, task: &Task<D>) {
        let bearer = match task.standing {
            Standing::Served { moving_to } => self.target(task, moving_to).or(Some(task.leader)),
            Standing::Unopened | Standing::LeftAlone => Some(task.leader),
            Standing::Bound { to } => Some(to),
            Standing::Vacant { .. } | Standing::Waiting { .. } => None,
        };
        if let Some(bearer) = bearer {
            self.give(task, bearer);
        }
        if let Standing::Served { moving_to } = task.standing
            && let Some(target) = self.target(task, moving_to)
        {
            self.in_flight.add(task.leader, target);
        }
    }

    /// Where a task that its leader serves is on its way to, if it may go there.
    fn target(&self, task: &Task<D>, moving_to: Option<BrokerId>) -> Option<BrokerId> {
        moving_to.filter(|to| *to != task.leader && self.brokers.is_usable(*to))
    }

    fn give(&mut self, task: &Task<D>, to: BrokerId) {
        self.loads.add(to, task.duty.group(), task.weight);
    }

    /// The usable broker that has least, which then has the task too.
    fn give_to_least_loaded(&mut self, task: &Task<D>) -> Option<BrokerId> {
        let to = self.loads.least_loaded(task.duty.group())?;
        self.give(task, to);
        Some(to)
    }

    fn assign(&mut self, task: &Task<D>) {
        match task.standing {
            Standing::Vacant { wish, unclean } => self.fill(task, wish, unclean),
            Standing::Bound { to } if to != task.leader => self.push_assignment(task, to, false),
            Standing::Unopened if !self.brokers.is_usable(task.leader) => {
                // Without a usable broker it is its leader's still.
                if let Some(to) = self.give_to_least_loaded(task) {
                    self.push_assignment(task, to, false);
                }
            }
            Standing::Waiting { holder } => self.wait(task, Until::WriteAheadLog(holder)),
            _ => {}
        }
    }

    fn fill(&mut self, task: &Task<D>, wish: Option<BrokerId>, unclean: bool) {
        let gone = !self.brokers.has_session(task.leader);
        if gone && (self.now.expected)(task.leader) {
            return self.wait(task, Until::LeaderStarts);
        }
        let chosen = match wish {
            Some(wish) => {
                self.give(task, wish);
                Some(wish)
            }
            None => self.give_to_least_loaded(task),
        };
        match chosen {
            Some(to) => self.push_assignment(task, to, unclean),
            None => self.wait(task, Until::UsableBroker),
        }
    }

    fn push_assignment(&mut self, task: &Task<D>, to: BrokerId, unclean: bool) {
        let because = match self.brokers.has_session(task.leader) {
            false => Because::Gone,
            true => Because::NotOpened,
        };
        self.plan.assignments.push(Assignment {
            duty: task.duty,
            from: task.leader,
            to,
            because,
            unclean,
        });
    }

    fn wait(&mut self, task: &Task<D>, until: Until) {
        self.plan.waiting.push(Waiting {
            duty: task.duty,
            leader: task.leader,
            until,
        });
    }

    /// Empties a leader that shall lead nothing, and takes back what cannot be handed over.
    fn correct_move(&mut self, task: &Task<D>) {
        let Standing::Served { moving_to } = task.standing else {
            return;
        };
        if self.target(task, moving_to).is_some() {
            return;
        }
        let to = if self.brokers.is_usable(task.leader) {
            None
        } else {
            self.give_to_least_loaded(task)
        };
        if let Some(to) = to {
            self.in_flight.add(task.leader, to);
        }
        if to != moving_to {
            let (duty, from) = (task.duty, task.leader);
            self.plan.moves.push(Move { duty, from, to });
        }
    }

    fn make_even(&mut self, tasks: &[Task<D>], options: &PlanOptions) {
        let starting = |waiting: &Waiting<D>| waiting.until == Until::LeaderStarts;
        let unsettled = !self.plan.assignments.is_empty()
            || self.plan.waiting.iter().any(starting)
            || self.now.usable_for < options.rebalance_delay;
        if unsettled {
            return;
        }
        let rules = RebalanceRules {
            tolerated_percent: options.rebalance_tolerated_percent,
            under_way: self.now.rebalancing,
        };
        let mut movable = self.movable(tasks);
        let Rebalance { moves, unfinished } =
            rebalance(&mut self.loads, &mut movable, &mut self.in_flight, rules);
        let moves = moves.into_iter().map(|(duty, from, to)| {
            let to = Some(to);
            Move { duty, from, to }
        });
        self.plan.moves.extend(moves);
        self.plan.rebalancing = unfinished;
    }

    /// What usable leaders serve and are not handing over.
    fn movable(&self, tasks: &[Task<D>]) -> BTreeMap<BrokerId, Vec<Movable<D>>> {
        let mut movable: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let settled = tasks.iter().filter(|task| {
            let settled = Standing::Served { moving_to: None };
            task.standing == settled && self.brokers.is_usable(task.leader)
        });
        for task in settled {
            let (duty, weight) = (task.duty, task.weight);
            let of_leader = movable.entry(task.leader).or_default();
            of_leader.push(Movable { duty, weight });
        }
        movable
    }
}
