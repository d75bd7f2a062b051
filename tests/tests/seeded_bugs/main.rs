//! The checker is put to the test: each bug on purpose (`common/src/seeded_bug.rs`) runs under a plan of load and faults
//! that provokes it, and must be found; the same plans without a bug must be clean.
//!
//! Needs a binary with the bugs in it, so it is no part of an ordinary run: `tests/seeded-bugs` builds one and runs this.

mod bugs;
mod plans;

use std::path::PathBuf;

use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::compacted;
use alluvium_tests::trial::Outcome;

use self::plans::Plan;

/// Names the binary with the bugs.
const BINARY_VARIABLE: &str = "ALLUVIUM_TEST_BINARY_BUGGY";
/// What the binary reads.
const BUG_VARIABLE: &str = "ALLUVIUM_TEST_SEEDED_BUG";
/// How often a plan is tried: whether a bug shows is a matter of moments.
const ATTEMPTS: usize = 3;

fn binary() -> Option<PathBuf> {
    let binary = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from);
    if binary.is_none() {
        eprintln!("skipped: needs a binary with bugs on purpose; tests/seeded-bugs builds one");
    }
    binary
}

async fn run(plan: Plan, bug: &'static str) -> Option<Outcome> {
    let mut trial = plan.trial();
    let options = trial.setup.options.binary(&binary()?);
    trial.setup.options = options.environment(BUG_VARIABLE, bug);
    trial.setup.with_bugs = !bug.is_empty();
    trial.name = match bug {
        "" => "no bug",
        bug => bug,
    };
    Some(trial.run().await)
}

/// The bug violates one of `invariants` within some attempts.
async fn caught(bug: &'static str, plan: Plan, invariants: &[&str]) {
    for attempt in 1..=ATTEMPTS {
        let Some(outcome) = run(plan, bug).await else {
            return;
        };
        let counts = &outcome.report.counts;
        println!("attempt {attempt}: {outcome}: {counts:?}");
        if invariants.iter().any(|one| outcome.report.violates(one)) {
            return;
        }
    }
    panic!("{bug} violated none of {invariants:?} in {ATTEMPTS} attempts");
}

/// The bug lets a compacted topic differ from its model.
async fn caught_in_compacted_topic(bug: &'static str) {
    let Some(binary) = binary() else {
        return;
    };
    let options = BrokerOptions::new().binary(&binary);
    let mut broker = compacted::start(options.environment(BUG_VARIABLE, bug)).await;
    let difference = compacted::try_out(&mut broker).await.err();
    broker.accept_any_log();
    println!("{bug}: {difference:?}");
    assert!(
        difference.is_some(),
        "{bug} lets the topic be as it must be"
    );
}

/// The plan without a bug.
async fn clean(plan: Plan) {
    if let Some(outcome) = run(plan, "").await {
        outcome.assert_clean();
    }
}
