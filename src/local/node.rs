//! This node's own entry.

use std::net::IpAddr;

use crate::types::{Address, Meta, Node, NodeId, NodeName};

/// The entry of this node: its LAN address, both addresses also by label and family, and its
/// metadata with the (always empty) network segment that the reference shows.
pub fn node_entry(id: NodeId, name: NodeName, lan: IpAddr, wan: IpAddr, meta: &Meta) -> Node {
    let tagged = [("lan", lan), ("wan", wan)]
        .into_iter()
        .flat_map(|(pool, ip)| {
            let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
            [pool.to_owned(), format!("{pool}_{family}")]
                .map(|label| (label.into(), Address::from(ip)))
        });
    let segment = ("consul-network-segment".to_owned(), String::new());
    let pairs = meta
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    Node {
        id: Some(id),
        name,
        address: lan.into(),
        tagged_addresses: tagged.collect(),
        meta: Meta::from_pairs(pairs.chain([segment])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tagged_by_pool_and_family() {
        let (lan, wan) = ("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let meta = Meta::from_pairs([("rack".into(), "7".into())]);
        let node = node_entry(NodeId::random(), "n1".parse().unwrap(), lan, wan, &meta);
        let tagged: Vec<_> = node
            .tagged_addresses
            .iter()
            .map(|(label, address)| format!("{label}={address}"))
            .collect();
        assert_eq!(
            tagged,
            [
                "lan=10.0.0.1",
                "lan_ipv4=10.0.0.1",
                "wan=2001:db8::1",
                "wan_ipv6=2001:db8::1"
            ]
        );
        assert_eq!(node.meta.get("consul-network-segment"), Some(""));
        assert_eq!(node.meta.get("rack"), Some("7"));
    }
}
