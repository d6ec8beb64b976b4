//! Which key a request names.
//!
//! Rule: everything after `/key/` and before `?`, percent-decoded once; slashes, empty segments
//! and dots are part of it. `?b64=` names keys that clients cannot put in a path. Must never:
//! normalise.

use super::{
    params::Params,
    problem::{
        BAD_BASE64, BAD_PERCENT_ENCODING, EMPTY_KEY, INVALID_PARAMETER, KEY_TOO_LONG, Problem,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

/// The key in `path` (what follows `/key/`) or in `?b64=`.
pub(super) fn key(path: &str, params: &Params, max_bytes: usize) -> Result<Bytes, Problem> {
    let key = match params.get("b64") {
        None => percent_decode(path).ok_or_else(|| {
            let message = format!("the path has a bad percent-encoding in {path:?}");
            Problem::new(BAD_PERCENT_ENCODING, message)
        })?,
        Some(_) if !path.is_empty() => {
            let message = "the key is given twice, in the path and in b64";
            return Err(Problem::new(INVALID_PARAMETER, message)
                .hint("write /key/?b64=<base64url of the key>"));
        }
        Some(text) => URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| {
            Problem::new(BAD_BASE64, format!("parameter \"b64\" is not base64url: {error}"))
        })?,
    };
    check(&key, max_bytes)?;
    Ok(Bytes::from(key))
}

/// Whether a key's length is allowed.
pub(super) fn check(key: &[u8], max_bytes: usize) -> Result<(), Problem> {
    if key.is_empty() {
        return Err(Problem::new(EMPTY_KEY, "the key is empty"));
    }
    if key.len() > max_bytes {
        let message = format!("the key has {} bytes, the limit is {max_bytes}", key.len());
        return Err(Problem::new(KEY_TOO_LONG, message));
    }
    Ok(())
}

/// A key as a message shows it: text where it is text, else with its bytes escaped; cut when long.
pub(super) fn shown(key: &[u8]) -> String {
    const SHOWN: usize = 256;
    match std::str::from_utf8(key) {
        Ok(text) if text.len() <= SHOWN => text.to_owned(),
        Ok(text) => format!("{}…", text.chars().take(SHOWN / 4).collect::<String>()),
        Err(_) => key[..key.len().min(SHOWN / 4)].escape_ascii().to_string(),
    }
}

/// Decodes `%XX` once; `None` when a percent sign is not followed by two hex digits.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    Some(out)
}
