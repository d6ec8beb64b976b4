//! What the client wants back: `Accept` (RFC 9110 §12.5.1) and `Prefer` (RFC 7240).
//!
//! Rule: JSON unless the client likes bytes better. Must never: answer 406 for an `Accept` that
//! nothing satisfies (the RFC leaves it open, and an answer helps more).

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

/// Whether the client prefers the value's bytes to a JSON rendering.
pub(super) fn wants_raw(headers: &HeaderMap) -> bool {
    let (mut json, mut raw) = (0u32, 0u32);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or("").split(',') {
            let (media, quality) = media_range(range);
            match media.as_str() {
                "application/json" | "application/*" | "*/*" => json = json.max(quality),
                "application/octet-stream" | "text/plain" | "text/*" => raw = raw.max(quality),
                _ => {}
            }
        }
    }
    raw > json
}

/// Whether the client asks for a stream of lines.
pub(super) fn wants_lines(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| media_range(range).0 == "application/x-ndjson")
}

/// The media type in lower case and its quality in thousandths.
fn media_range(text: &str) -> (String, u32) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or("").to_ascii_lowercase();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
        .map_or(1000, thousandths);
    (media, quality)
}

/// `0.8` → 800; what is not a quality counts as none.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole, fraction.parse::<u32>()) {
        ("1", _) => 1000,
        ("0", Ok(thousandths)) => thousandths,
        _ => 0,
    }
}

/// Whether the client asked to be spared the body (`Prefer: return=minimal`).
pub(super) fn wants_minimal(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .any(|preference| preference.trim().eq_ignore_ascii_case("return=minimal"))
}

/// Whether the body says it is JSON (`application/json` or `…+json`).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}
