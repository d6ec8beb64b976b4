//! Where the nodes are.
//!
//! Rule: `host`, `host:port` or `http://host:port`, nothing else. Must never: guess what a scheme
//! or a path that this version does not speak was meant to be.

use std::fmt;

/// Port of an endpoint that names none: the default of a node's `PORT`.
const DEFAULT_PORT: u16 = 8080;

/// The HTTP address of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
}

impl Endpoint {
    /// Reads one endpoint.
    ///
    /// # Errors
    /// In words, what is accepted instead.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let refused = |why: &str| {
            Err(format!("endpoint {text:?} {why}; give host:port, e.g. http://localhost:8080"))
        };
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return refused("is not http, which is all this version speaks"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            // The last colon of `[::1]` is part of the address.
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) if port != 0 => (host, port),
                _ => return refused("has no usable port"),
            },
            _ => (rest, DEFAULT_PORT),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let fits = if bracketed {
            host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.chars().all(plain)
        };
        if !fits {
            return refused("has no usable host");
        }
        Ok(Endpoint { authority: format!("{host}:{port}") })
    }

    /// `host:port`, to dial and for the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, authority) in [
            ("localhost", "localhost:8080"),
            ("app1:8081", "app1:8081"),
            ("http://app1:8081/", "app1:8081"),
            ("HTTP://10.0.0.1", "10.0.0.1:8080"),
            ("[::1]", "[::1]:8080"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            assert_eq!(Endpoint::parse(text).expect(text).authority(), authority);
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_is_accepted() {
        for text in
            ["", "https://app1", "app1:", "app1:0", "app1:99999", "a b", "http://a/x", "::1"]
        {
            let said = Endpoint::parse(text).expect_err(text);
            assert!(said.contains("give host:port"), "{said}");
        }
    }
}
