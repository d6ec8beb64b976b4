//! Takes the variables out of the environment one by one.
//!
//! Rule: a variable is known, readable and within its bounds, or the start stops with one line.
//! Must never: show a default other than the table's, or a value so long that the line is unreadable.

use super::{
    value::{self, Address},
    variable::{self, Accepts},
};
use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf, time::Duration};

/// Why the start stops: one line that names the variable, the value, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn new(text: impl Into<String>) -> ConfigError {
        ConfigError(text.into())
    }

    fn refused(name: &str, value: &str, accepts: Accepts) -> ConfigError {
        ConfigError(format!("{name}={} is not accepted: give {accepts}.", show(value)))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The value on one line: as it is when it is plain, quoted and shortened otherwise.
fn show(value: &str) -> String {
    const LONGEST: usize = 80;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
    if !value.is_empty() && value.len() <= LONGEST && value.chars().all(plain) {
        return value.to_owned();
    }
    let shown: String = value.chars().take(LONGEST).collect();
    // Not `{shown:?}`, which lets exotic letters through that a terminal may act upon.
    let quoted: String = shown.chars().flat_map(char::escape_default).collect();
    format!("\"{quoted}{}\"", if shown.len() < value.len() { "…" } else { "" })
}

/// Our variables, as found in the environment.
pub(super) struct Reader {
    values: BTreeMap<&'static str, OsString>,
}

impl Reader {
    /// Keeps the variables that are ours and refuses names that only look like it.
    pub(super) fn new<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Reader, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let mut values = BTreeMap::new();
        for (name, value) in vars {
            let name = name.into();
            let name = name.to_string_lossy();
            if let Some(known) = variable::find(&name) {
                values.insert(known.name, value.into());
            } else if let Some(text) = unknown(&name) {
                return Err(ConfigError(text));
            }
        }
        Ok(Reader { values })
    }

    fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        match value.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(ConfigError::refused(name, &value.to_string_lossy(), accepts(name))),
        }
    }

    /// The value that stands for `name`, through `parse`; `None` when it is not set and has no
    /// plain default.
    fn get<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let default = variable::find(name).map(|v| v.default).filter(|d| !d.starts_with('('));
        let Some(text) = self.text(name)?.or(default) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::refused(name, text, accepts(name))),
        }
    }

    fn require<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        self.get(name, parse)?.ok_or_else(|| ConfigError(format!("{name} is not set.")))
    }

    pub(super) fn name(&self, name: &str) -> Result<Option<String>, ConfigError> {
        self.get(name, value::parse_name)
    }

    pub(super) fn port(&self, name: &str) -> Result<u16, ConfigError> {
        self.require(name, value::parse_port)
    }

    pub(super) fn host(&self, name: &str) -> Result<String, ConfigError> {
        self.require(name, value::parse_host)
    }

    pub(super) fn address(&self, name: &str) -> Result<Option<Address>, ConfigError> {
        self.get(name, Address::parse)
    }

    pub(super) fn url(&self, name: &str) -> Result<Option<Address>, ConfigError> {
        if let Some(text) = self.text(name)?
            && text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
        {
            return Err(ConfigError(format!(
                "{name}={} is not accepted: this version speaks http only; give {}.",
                show(text),
                accepts(name)
            )));
        }
        self.get(name, value::parse_url)
    }

    /// A path. Empty is refused: data would be kept in memory where somebody meant a directory.
    pub(super) fn directory(&self, name: &str) -> Result<Option<PathBuf>, ConfigError> {
        match self.values.get(name) {
            Some(value) if value.is_empty() => Err(ConfigError(format!(
                "{name}=\"\" is not accepted: give a path, or unset it to keep everything in memory."
            ))),
            value => Ok(value.map(PathBuf::from)),
        }
    }

    pub(super) fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        self.require(name, |text| value::parse_duration(text).filter(|v| within(name, *v)))
            .map(Duration::from_millis)
    }

    pub(super) fn bytes(&self, name: &str) -> Result<u64, ConfigError> {
        self.require(name, |text| value::parse_bytes(text).filter(|v| within(name, *v)))
    }

    pub(super) fn count(&self, name: &str) -> Result<u64, ConfigError> {
        self.require(name, |text| value::digits(text).filter(|v| within(name, *v)))
    }

    pub(super) fn word(&self, name: &str) -> Result<&'static str, ConfigError> {
        let Accepts::Word(words) = accepts(name) else { unreachable!("{name} takes a word") };
        self.require(name, |text| words.iter().copied().find(|word| *word == text))
    }
}

fn accepts(name: &str) -> Accepts {
    variable::find(name).map_or(Accepts::Directory, |v| v.accepts)
}

fn within(name: &str, value: u64) -> bool {
    match accepts(name) {
        Accepts::Duration(min, max) | Accepts::Bytes(min, max) | Accepts::Count(min, max) => {
            (min..=max).contains(&value)
        }
        _ => true,
    }
}

/// What to say about a name that is not ours: something when it begins like ours, or is one or two
/// letters away from one of the contract's (a misspelt RAFT_DIR would keep the data in memory).
fn unknown(name: &str) -> Option<String> {
    if variable::CLIENT_VARIABLES.iter().any(|(known, _)| *known == name) {
        return None;
    }
    let (near, distance) = variable::nearest(name)?;
    if name.starts_with("KVORUM_") {
        let hint = if distance <= 6 {
            format!("Did you mean {}?", near.name)
        } else {
            "See docs/configuration.md for all of them.".to_owned()
        };
        return Some(format!("{} is not a variable that kvorum knows. {hint}", show(name)));
    }
    (name.starts_with("RAFT_") && distance <= 2).then(|| {
        format!("{} is not a variable that kvorum knows. Did you mean {}?", show(name), near.name)
    })
}
