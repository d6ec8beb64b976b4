//! The syntax of values: names, addresses, durations, sizes.
//!
//! Rule: a value is taken as written or refused with what would have been accepted. Must never:
//! trim, round, wrap around, or resolve a name (that happens at every dial).

use super::variable::Accepts;
use std::{fmt, net::Ipv6Addr, time::Duration};

/// Longest `NODE_ID`; it names a directory.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest host name (RFC 1035, section 2.3.4).
const MAX_HOST_BYTES: usize = 253;

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accepts::Name => write!(
                f,
                "1 to {MAX_NAME_BYTES} letters, digits, '.', '_' or '-', not starting with '.' or '-'"
            ),
            Accepts::Port => f.write_str("a port from 1 to 65535"),
            Accepts::Address => {
                f.write_str("host:port, e.g. app1:7000, 127.0.0.1:7000 or [::1]:7000")
            }
            Accepts::Host => {
                f.write_str("a host name or an IP address without a port, e.g. 0.0.0.0 or [::]")
            }
            Accepts::Url => {
                f.write_str("a member's HTTP address, e.g. localhost:8081 or http://app1:8081")
            }
            Accepts::Directory => f.write_str("a path"),
            Accepts::Duration(min, max) => write!(
                f,
                "a duration from {} to {}, e.g. 500ms, 30s, 5m, or bare seconds",
                show_duration(Duration::from_millis(*min)),
                show_duration(Duration::from_millis(*max))
            ),
            Accepts::Bytes(min, max) => write!(
                f,
                "a size from {} to {}, e.g. 4096, 64KiB, 2MiB",
                show_bytes(*min),
                show_bytes(*max)
            ),
            Accepts::Count(min, max) => write!(f, "a number from {min} to {max}"),
            Accepts::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// `host:port`, checked, without resolving anything. The host of an IPv6 address has its brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Address { host: parse_host(host)?, port: parse_port(port)? })
    }

    /// Whether it stands for "every interface" and hence cannot be dialled.
    pub(super) fn is_wildcard(&self) -> bool {
        is_wildcard(&self.host)
    }
}

pub(super) fn is_wildcard(host: &str) -> bool {
    host == "0.0.0.0" || unbracket(host).is_some_and(|ip| ip.is_unspecified())
}

/// Whether the host can only mean the machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || unbracket(host).is_some_and(|ip| ip.is_loopback())
}

fn unbracket(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn parse_host(text: &str) -> Option<String> {
    if text.starts_with('[') {
        return unbracket(text).map(|ip| format!("[{ip}]"));
    }
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > MAX_HOST_BYTES || !text.bytes().all(sound) {
        return None;
    }
    // Digits and dots only is an address, and then a correct one: 127.0.1 is a typing error.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let labels = text.strip_suffix('.').unwrap_or(text).split('.').all(|label| !label.is_empty());
    let sound = if numeric { text.parse::<std::net::Ipv4Addr>().is_ok() } else { labels };
    sound.then(|| text.to_owned())
}

pub(super) fn parse_port(text: &str) -> Option<u16> {
    digits(text)?.try_into().ok().filter(|port| *port != 0)
}

/// The `host:port` of `host:port`, `http://host:port` or `http://host:port/`.
pub(super) fn parse_url(text: &str) -> Option<Address> {
    let rest = match text.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => &text[7..],
        _ => text,
    };
    Address::parse(rest.strip_suffix('/').unwrap_or(rest))
}

/// A name that is a sound directory name everywhere and travels in a header as it is.
pub(super) fn parse_name(text: &str) -> Option<String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(sound);
    (fits && !text.starts_with(['.', '-'])).then(|| text.to_owned())
}

/// Milliseconds in `500ms`, `30s`, `5m` or bare seconds; `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1000)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000)
    } else {
        (text, 1000)
    };
    digits(number)?.checked_mul(unit)
}

/// Bytes in `4096`, `64KiB`, `2MiB` or `1GiB`. `KB` is refused: some take it for 1000.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    digits(number)?.checked_mul(1 << shift)
}

/// A plain number: digits only, no sign, no blanks.
pub(super) fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A duration as one would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "0s".to_owned(),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// A size as one would write it.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    units
        .iter()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}
