//! Chooses the address under which other machines reach this one.

use std::net::{IpAddr, Ipv4Addr};

use super::error::ConfigError;

/// The address to advertise: `advertise` if given, else `bind` if it is one address, else the
/// machine's only private IPv4 address (RFC 1918, RFC 6598), as the reference chooses it.
///
/// # Errors
/// There is none or more than one; the message lists them.
pub(super) fn choose(advertise: Option<IpAddr>, bind: IpAddr) -> Result<IpAddr, ConfigError> {
    match advertise {
        Some(address) if address.is_unspecified() => Err(ConfigError::Advertise {
            reason: format!("advertise_addr {address} reaches nothing: name one address"),
        }),
        Some(address) => Ok(address),
        None if !bind.is_unspecified() => Ok(bind),
        None => only_private(&interface_addresses()),
    }
}

fn only_private(addresses: &[Ipv4Addr]) -> Result<IpAddr, ConfigError> {
    let mut private: Vec<Ipv4Addr> = addresses
        .iter()
        .copied()
        .filter(|address| address.is_private() || is_shared(*address))
        .collect();
    private.sort();
    private.dedup();
    let list = |addresses: &[Ipv4Addr]| {
        let texts: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        texts.join(", ")
    };
    let reason = match private.as_slice() {
        [one] => return Ok(IpAddr::V4(*one)),
        [] if addresses.is_empty() => {
            "No private IPv4 address found. Please configure one with 'bind' and/or 'advertise'."
                .to_owned()
        }
        [] => format!(
            "No private IPv4 address found among {}. Please configure one with 'bind' and/or \
             'advertise'.",
            list(addresses)
        ),
        several => format!(
            "Multiple private IPv4 addresses found: {}. Please configure one with 'bind' and/or \
             'advertise'.",
            list(several)
        ),
    };
    Err(ConfigError::Advertise { reason })
}

/// Whether the address is shared address space (RFC 6598), which counts as private.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

/// IPv4 addresses of this machine; none if the system does not tell.
fn interface_addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .filter(|address| !address.is_loopback())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_private_address_is_advertised() {
        let found = only_private(&[[203, 0, 113, 1].into(), [10, 1, 2, 3].into()]);
        assert_eq!(found.unwrap(), IpAddr::from([10, 1, 2, 3]));
        assert!(only_private(&[[100, 64, 0, 1].into()]).is_ok());
    }

    #[test]
    fn candidates_and_flags_are_named_where_there_is_a_choice() {
        let error = only_private(&[[10, 1, 2, 3].into(), [192, 168, 0, 1].into()]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("10.1.2.3, 192.168.0.1") && text.contains("'bind'"),
            "{text}"
        );
        let error = only_private(&[[203, 0, 113, 1].into()]).unwrap_err();
        assert!(error.to_string().contains("203.0.113.1"));
    }

    #[test]
    fn a_bound_address_is_advertised_and_a_given_one_wins() {
        let (bind, given) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 9]));
        assert_eq!(choose(None, bind).unwrap(), bind);
        assert_eq!(choose(Some(given), bind).unwrap(), given);
        assert!(choose(Some(IpAddr::from([0, 0, 0, 0])), bind).is_err());
    }
}
