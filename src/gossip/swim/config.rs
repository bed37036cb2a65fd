//! The timing of a pool.

use std::time::Duration;

/// Timing and limits of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Time for all I/O of a stream. LAN 10 s, WAN 30 s.
    pub stream_deadline: Duration,
    /// Nodes that are asked to ping another. 3.
    pub indirect_checks: usize,
    /// Times a broadcast is sent, for each digit of the number of nodes (`retransmit_mult`). 4.
    pub retransmit_multiplier: u32,
    /// Probe intervals until a suspect is dead, for each digit of the number of nodes
    /// (`suspicion_mult`). LAN 4, WAN 6.
    pub suspicion_multiplier: u32,
    /// How many times longer than that it takes where nobody confirms. 6.
    pub suspicion_max_multiplier: u32,
    /// Time between two push/pulls; zero for none. LAN 30 s, WAN 60 s.
    pub push_pull_interval: Duration,
    /// Time between two probes (`probe_interval`). LAN 1 s, WAN 5 s.
    pub probe_interval: Duration,
    /// Time after which others are asked to probe (`probe_timeout`). LAN 500 ms, WAN 3 s.
    pub probe_timeout: Duration,
    /// Time between two rounds of gossip (`gossip_interval`). LAN 200 ms, WAN 500 ms.
    pub gossip_interval: Duration,
    /// Nodes that each round goes to (`gossip_nodes`). 3.
    pub gossip_nodes: usize,
    /// Time for which a dead node is still told of things. LAN 30 s, WAN 60 s.
    pub gossip_to_the_dead: Duration,
    /// Time after which the name of a dead node may be taken from another address; zero for never.
    pub dead_node_reclaim: Duration,
    /// Octets of a packet before label and encryption, less their overhead. 1,400.
    pub packet_octets_max: usize,
    /// Nodes that are known at most, dead ones too. 65,536.
    pub nodes_max: usize,
}

impl Config {
    /// For one datacenter.
    pub fn lan() -> Self {
        Self {
            stream_deadline: Duration::from_secs(10),
            indirect_checks: 3,
            retransmit_multiplier: 4,
            suspicion_multiplier: 4,
            suspicion_max_multiplier: 6,
            push_pull_interval: Duration::from_secs(30),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            dead_node_reclaim: Duration::ZERO,
            packet_octets_max: 1_400,
            nodes_max: 65_536,
        }
    }

    /// Between datacenters.
    pub fn wan() -> Self {
        Self {
            stream_deadline: Duration::from_secs(30),
            suspicion_multiplier: 6,
            push_pull_interval: Duration::from_secs(60),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(500),
            gossip_to_the_dead: Duration::from_secs(60),
            ..Self::lan()
        }
    }

    /// On one machine.
    pub fn local() -> Self {
        Self {
            stream_deadline: Duration::from_secs(1),
            indirect_checks: 1,
            retransmit_multiplier: 2,
            suspicion_multiplier: 3,
            push_pull_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_millis(200),
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead: Duration::from_secs(15),
            ..Self::lan()
        }
    }
    /// Times that a broadcast is sent in a pool of `nodes`, dead ones that are known included.
    pub fn transmits_max(&self, nodes: usize) -> u32 {
        let count = nodes.saturating_add(1).max(2);
        let whole = count.ilog10();
        let digits = whole + u32::from(10_usize.checked_pow(whole) != Some(count));
        self.retransmit_multiplier.saturating_mul(digits)
    }

    /// Time between two push/pulls in a pool of `nodes`: each costs as much as there are nodes, so
    /// large pools take more time. `None` for never.
    pub fn push_pull_every(&self, nodes: usize) -> Option<Duration> {
        if self.push_pull_interval.is_zero() {
            return None;
        }
        // Grows by one whenever the pool has doubled beyond 32.
        let factor = match nodes {
            0..=32 => 1,
            _ => (nodes - 1).ilog2() + 1 - 5 + 1,
        };
        Some(self.push_pull_interval.saturating_mul(factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_are_sent_more_often_in_pools_with_more_digits() {
        let config = Config::lan();
        for (nodes, times) in [
            (0, 4),
            (1, 4),
            (9, 4),
            (10, 8),
            (99, 8),
            (100, 12),
            (999, 12),
        ] {
            assert_eq!(config.transmits_max(nodes), times, "{nodes} nodes");
        }
    }

    #[test]
    fn push_pulls_become_rarer_beyond_32_nodes() {
        let config = Config::lan();
        for (nodes, seconds) in [
            (1, 30),
            (32, 30),
            (33, 60),
            (64, 60),
            (65, 90),
            (1_024, 180),
        ] {
            let every = config.push_pull_every(nodes);
            assert_eq!(every, Some(Duration::from_secs(seconds)), "{nodes} nodes");
        }
        let never = Config {
            push_pull_interval: Duration::ZERO,
            ..config
        };
        assert_eq!(never.push_pull_every(100), None);
    }
}
