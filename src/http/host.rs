//! Whose name a request was sent to.
//!
//! A page that a browser has loaded from anywhere may have its own name resolve to 127.0.0.1 and
//! then read and write as the user's own programs do (DNS rebinding). Its requests carry that name:
//! over a loopback address only names that nobody else can hand out are served.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{Request, StatusCode, Version};

use super::error::ApiError;

/// Checks the host that `request` names. `local` is the address that it came to; `domains` are
/// those whose names this site gives out itself, in lower case.
///
/// # Errors
/// 400: no host where there must be one, several, or none that can be read (RFC 9112 §3.2). 403: a
/// name of others on a loopback address.
pub(crate) fn check<B>(
    request: &Request<B>,
    local: IpAddr,
    domains: &[String],
) -> Result<(), ApiError> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) if request.version() < Version::HTTP_11 => return Ok(()),
        (None, _) => return Err(ApiError::bad_request("request has no Host field")),
        (Some(field), None) => field,
        (Some(_), Some(_)) => return Err(ApiError::bad_request("request has several Host fields")),
    };
    // The name in an absolute target goes first (RFC 9112 §3.2.2); an empty field names nobody.
    let read;
    let authority = match request.uri().authority() {
        Some(authority) => authority,
        None if field.is_empty() => return Ok(()),
        None => {
            read = Authority::try_from(field.as_bytes())
                .map_err(|_| ApiError::bad_request(format!("{field:?} is no host")))?;
            &read
        }
    };
    let host = authority.host();
    if !local.to_canonical().is_loopback() || is_own(host, domains) {
        return Ok(());
    }
    let text = format!("host {host:?} is not served on a loopback address: use localhost");
    Err(ApiError::new(StatusCode::FORBIDDEN, text))
}

/// Whether nobody else can let `host` resolve to a loopback address.
fn is_own(host: &str, domains: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bare.unwrap_or(host).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_in = |domain: &str| {
        name.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    // A name without dots comes from this machine's own table or search list.
    !name.contains('.') || is_in("localhost") || domains.iter().any(|domain| is_in(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

    fn status(local: [u8; 4], target: &str, hosts: &[&str]) -> u16 {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let domains = ["consul".to_owned(), "node.example.com".to_owned()];
        match check(&request.body(()).unwrap(), local.into(), &domains) {
            Ok(()) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[test]
    fn names_of_others_are_refused_on_loopback_only() {
        for host in [
            "evil.example",
            "evil.example:8500",
            "127.0.0.1.evil.example",
            "notconsul.example",
            "xconsul.",
            "a.xconsul",
            "localhost.evil.example",
            "1.2.3",
        ] {
            let own = host == "xconsul."; // No dot but the last.
            assert_eq!(status(LOOPBACK, "/", &[host]) == 200, own, "{host}");
            assert_eq!(status([10, 0, 0, 1], "/", &[host]), 200, "{host}");
        }
    }

    #[test]
    fn own_names_and_addresses_are_served_on_loopback() {
        for host in [
            "",
            "localhost",
            "LocalHost.:8500",
            "x.localhost",
            "127.0.0.1:8500",
            "[::1]:8500",
            "10.1.2.3",
            "consul",
            "consul.service.Consul:8500",
            "node.example.com",
        ] {
            assert_eq!(status(LOOPBACK, "/", &[host]), 200, "{host}");
        }
    }

    mod rfc9112 {
        use super::*;

        #[test]
        fn a_request_names_exactly_one_host() {
            assert_eq!(status(LOOPBACK, "/", &[]), 400);
            assert_eq!(status(LOOPBACK, "/", &["a", "a"]), 400);
            assert_eq!(status(LOOPBACK, "/", &["a b"]), 400);
            assert_eq!(status([10, 0, 0, 1], "/", &["<a>"]), 400);
            let mut old = Request::new(());
            *old.version_mut() = Version::HTTP_10;
            assert!(check(&old, LOOPBACK.into(), &[]).is_ok());
        }

        #[test]
        fn the_host_of_an_absolute_target_goes_first() {
            assert_eq!(
                status(LOOPBACK, "http://localhost/", &["evil.example"]),
                200
            );
            assert_eq!(
                status(LOOPBACK, "http://evil.example/", &["localhost"]),
                403
            );
        }
    }
}
