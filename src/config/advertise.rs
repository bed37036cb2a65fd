//! Chooses the address under which other machines reach this one.

use std::net::{IpAddr, Ipv4Addr};

use super::error::ConfigError;
use super::interfaces;

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
        None => only_private(&candidates()),
    }
}

/// An IPv4 address and the name of its interface.
type Candidate = (Ipv4Addr, String);

/// The address to advertise to other datacenters: `advertise` if given, else the one for this.
///
/// # Errors
/// It reaches nothing.
pub(super) fn choose_wan(advertise: Option<IpAddr>, lan: IpAddr) -> Result<IpAddr, ConfigError> {
    match advertise {
        Some(address) if address.is_unspecified() => Err(ConfigError::Advertise {
            reason: format!("advertise_addr_wan {address} reaches nothing: name one address"),
        }),
        Some(address) => Ok(address),
        None => Ok(lan),
    }
}

fn only_private(candidates: &[Candidate]) -> Result<IpAddr, ConfigError> {
    let mut private: Vec<&Candidate> = candidates
        .iter()
        .filter(|(address, _)| address.is_private() || is_shared(*address))
        .collect();
    private.sort();
    private.dedup_by_key(|(address, _)| *address);
    let advice = "Please configure one with 'bind' and/or 'advertise'";
    let reason = match private.as_slice() {
        [(one, _)] => return Ok(IpAddr::V4(*one)),
        [] if candidates.is_empty() => format!("No private IPv4 address found. {advice}."),
        [] => format!(
            "No private IPv4 address found among {}. {advice}.",
            list(candidates.iter())
        ),
        [(first, name), ..] => format!(
            "Multiple private IPv4 addresses found: {}. {advice}, as in -bind {first} or \
             -bind '{{{{ GetInterfaceIP \"{name}\" }}}}'.",
            list(private.iter().copied())
        ),
    };
    Err(ConfigError::Advertise { reason })
}

fn list<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> String {
    let texts: Vec<String> = candidates
        .map(|(address, name)| format!("{address} ({name})"))
        .collect();
    texts.join(", ")
}

/// Whether the address is shared address space (RFC 6598), which counts as private.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

/// IPv4 addresses of this machine that are not for itself alone.
fn candidates() -> Vec<Candidate> {
    let found = interfaces::all().into_iter();
    found
        .filter_map(|own| match own.address {
            IpAddr::V4(address) if !address.is_loopback() => Some((address, own.name)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: [u8; 4], name: &str) -> Candidate {
        (address.into(), name.to_owned())
    }

    #[test]
    fn the_only_private_address_is_advertised() {
        let public = candidate([203, 0, 113, 1], "eth0");
        let found = only_private(&[public, candidate([10, 1, 2, 3], "eth1")]);
        assert_eq!(found.unwrap(), IpAddr::from([10, 1, 2, 3]));
        assert!(only_private(&[candidate([100, 64, 0, 1], "eth0")]).is_ok());
    }

    #[test]
    fn candidates_and_flags_are_named_where_there_is_a_choice() {
        let both = [
            candidate([192, 168, 0, 1], "docker0"),
            candidate([10, 1, 2, 3], "eth0"),
        ];
        assert_eq!(
            only_private(&both).unwrap_err().to_string(),
            "Multiple private IPv4 addresses found: 10.1.2.3 (eth0), 192.168.0.1 (docker0). Please \
             configure one with 'bind' and/or 'advertise', as in -bind 10.1.2.3 or \
             -bind '{{ GetInterfaceIP \"eth0\" }}'."
        );
        let error = only_private(&[candidate([203, 0, 113, 1], "eth0")]).unwrap_err();
        assert!(error.to_string().contains("203.0.113.1 (eth0)"));
    }

    #[test]
    fn a_bound_address_is_advertised_and_a_given_one_wins() {
        let (bind, given) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 9]));
        assert_eq!(choose(None, bind).unwrap(), bind);
        assert_eq!(choose(Some(given), bind).unwrap(), given);
        assert!(choose(Some(IpAddr::from([0, 0, 0, 0])), bind).is_err());
    }
}
