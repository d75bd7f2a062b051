//! Groups of a thousand members.

use super::super::*;
use super::harness::*;

/// Not a benchmark: joining is linear in members, and a quadratic mistake in it (a list per member, a
/// scan per join) makes this take minutes.
#[test]
fn a_thousand_members_rebalance_twice() {
    const MEMBERS: usize = 1000;
    let mut h = Harness::new();
    let joins: Vec<_> = (0..MEMBERS).map(|_| h.add_member("c")).collect();
    h.advance(DELAY * 3);
    let mut ids: Vec<String> = joins
        .iter()
        .map(|waiter| h.join_ok(*waiter).member_id.to_string())
        .collect();
    assert_eq!(h.join_ok(joins[0]).members.len(), MEMBERS);
    for generation in 1..=2 {
        assert_eq!(h.describe().members.len(), MEMBERS);
        let syncs = h.sync_all(&ids, generation);
        for (waiter, id) in syncs.iter().zip(&ids) {
            assert_eq!(h.synced(*waiter), Ok(id.clone().into()));
        }
        assert_eq!(h.state(), GroupState::Stable);
        let joins: Vec<_> = ids.iter().map(|id| h.join(rejoin(id))).collect();
        ids = joins
            .iter()
            .map(|waiter| h.join_ok(*waiter).member_id.to_string())
            .collect();
        assert_eq!(h.join_ok(joins[0]).generation, generation + 1);
    }
}
