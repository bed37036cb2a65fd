//! Pools of membership protocols on a simulated network: what must hold whatever it does. More of
//! the same, and larger, in `benches/membership.rs`.

#[allow(dead_code, reason = "the bench uses more of it")]
#[path = "../benches/membership/network.rs"]
mod network;
#[allow(dead_code, reason = "the bench shows more of a run")]
#[path = "../benches/membership/properties.rs"]
mod properties;

/// Tries a property with as many seeds as a debug build has time for.
fn holds(number: usize, seeds: u64) {
    let (name, property) = properties::ALL[number];
    for seed in 0..seeds {
        if let Err(wrong) = property(seed) {
            panic!("{name}: {wrong}\nrepeat with: cargo bench --bench membership -- {seed}");
        }
    }
}

#[test]
fn all_who_live_see_each_other_alive_after_faults() {
    holds(0, 24);
}

#[test]
fn a_dead_member_is_detected_by_all_in_time() {
    holds(1, 38);
}

#[test]
fn a_third_dying_takes_no_survivor_along() {
    holds(2, 4);
}
