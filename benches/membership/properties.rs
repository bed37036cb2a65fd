//! What must hold of a pool, whatever the network does; each from a seed that a failure names.

use std::time::Duration;

use herald::gossip::swim::{Bounds, Config};
use rand::RngExt;

use super::network::{CALM, Conditions, Network};

/// Time after the end of all faults within which everybody takes everybody for alive: some attempts
/// to reach failed members, of which each pool makes about one every 30 s, and a refutation.
pub(crate) const RECOVERY: Duration = Duration::from_secs(600);

/// Time for a pool to come together at first.
const JOIN: Duration = Duration::from_secs(120);

const STEP: Duration = Duration::from_millis(500);

/// What a run says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// Time until the property held.
    pub(crate) took: Duration,
    /// How long it might have taken.
    pub(crate) bound: Duration,
    /// Members that were taken for dead though they ran and could be reached.
    pub(crate) false_deaths: u64,
    /// Accusations that were refuted.
    pub(crate) refutations: u64,
}

impl Run {
    fn new(network: &Network, took: Duration, bound: Duration) -> Self {
        Self {
            took,
            bound,
            false_deaths: network.false_deaths,
            refutations: network.refutations(),
        }
    }
}

/// A property: what it is called, and how it is tried with a seed.
pub(crate) type Property = (&'static str, fn(u64) -> Result<Run, String>);

/// All of them.
pub(crate) const ALL: [Property; 3] = [
    ("all who live see each other alive after faults", recovery),
    ("a dead member is detected by all in time", detection),
    ("a third dying takes no survivor along", survival),
];

/// A pool of `count` that has come together.
pub(crate) fn pool(seed: u64, config: Config, count: usize) -> Result<Network, String> {
    let mut network = Network::new(seed, config, count, 60);
    for who in 1..count {
        let through = network.random.random_range(0..who);
        let after = network.random_time(Duration::from_secs(2));
        network.join(who, through, after);
    }
    network.run_until(JOIN, STEP, Network::agrees)?;
    Ok(network)
}

/// Loss, repetition, cuts, pauses, kills and restarts for a while; then all who live must see each
/// other alive, and nobody else.
fn recovery(seed: u64) -> Result<Run, String> {
    let count = 3 + usize::try_from(seed % 12).expect("below 12");
    let mut network = pool(seed, Config::lan(), count)?;
    let slow = network.random_time(Duration::from_millis(200));
    network.conditions = Conditions {
        loss: network.random.random_range(0.0..0.3),
        repeated: network.random.random_range(0.0..0.2),
        delay: (Duration::from_micros(100), Duration::from_millis(1) + slow),
    };
    for _ in 0..network.random.random_range(2..10) {
        fault(&mut network);
        let time = network.random_time(Duration::from_secs(15));
        network.run_for(time);
    }
    network.conditions = CALM;
    network.heal();
    // A pause is a fault as well: the longest may have begun just now.
    network.run_for(LONGEST_PAUSE);
    let took = network.run_until(RECOVERY, STEP, Network::agrees)?;
    // And it stays so.
    network.run_for(Duration::from_secs(20));
    network.agrees()?;
    Ok(Run::new(&network, took, RECOVERY))
}

const LONGEST_PAUSE: Duration = Duration::from_secs(40);

fn fault(network: &mut Network) {
    let (one, other) = (network.any_running(), network.any_running());
    match network.random.random_range(0..6) {
        0 => network.heal(),
        1 => network.cut(one, other),
        // Nobody hears one any more, or one hears nobody.
        2 => (0..network.len()).for_each(|index| network.cut(one, index)),
        3 => (0..network.len()).for_each(|index| network.cut(index, one)),
        4 => {
            let time = network.random_time(LONGEST_PAUSE);
            network.pause(one, time);
        }
        // Somebody must be left to join.
        _ if one != other => {
            network.kill(one);
            if network.random.random() {
                let time = network.random_time(Duration::from_secs(20));
                network.run_for(time);
                network.restart(one, other);
            }
        }
        _ => {}
    }
}

/// Time within which a death is known to all: until its turn in somebody's round of probes, which
/// may have passed just now; that probe; the suspicion, which nobody may confirm in time; and until
/// the word has gone round, on a quiet network.
pub(crate) fn detection_bound(config: &Config, nodes: usize) -> Duration {
    let others = u32::try_from(nodes - 1).expect("a small pool");
    let rounds = config.probe_interval * (2 * others);
    let told = config.gossip_interval * (2 * config.transmits_max(nodes));
    rounds + config.probe_interval + Bounds::new(config, nodes).most + told
}

/// One member dies; all others must know in time, and nobody else may die.
fn detection(seed: u64) -> Result<Run, String> {
    let count = 2 + usize::try_from(seed % 19).expect("below 19");
    let config = Config::lan();
    let bound = detection_bound(&config, count);
    let mut network = pool(seed, config, count)?;
    let time = network.random_time(Duration::from_secs(20));
    network.run_for(time);
    let victim = network.any_running();
    network.kill(victim);
    let took = network.run_until(bound, STEP, Network::knows_the_dead)?;
    if network.false_deaths != 0 {
        return Err("somebody who lives was taken for dead".to_owned());
    }
    Ok(Run::new(&network, took, bound))
}

/// A third of a pool dies at once, with some loss; no survivor may be dead in the end.
fn survival(seed: u64) -> Result<Run, String> {
    let count = 20 + usize::try_from(seed % 30).expect("below 30");
    let config = Config::lan();
    let bound = detection_bound(&config, count) * 2;
    let mut network = pool(seed, config, count)?;
    network.conditions.loss = 0.01;
    for _ in 0..count * 3 / 10 {
        let victim = network.any_running();
        network.kill(victim);
    }
    let took = network.run_until(bound, STEP, Network::knows_the_dead)?;
    network.conditions.loss = 0.0;
    network.run_until(Duration::from_secs(60), STEP, Network::agrees)?;
    Ok(Run::new(&network, took, bound))
}
