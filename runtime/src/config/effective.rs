//! What a node started in an environment would use, for `kvorum config`.
//!
//! Rule: the same reading as the start itself, so that nothing is shown that would be refused.
//! Must never: show a default that is not in force.

use super::{Config, ConfigError, Log, VARIABLES, Variable, variable};
use std::{collections::BTreeMap, ffi::OsString};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The environment.
    Environment,
    /// The table of variables.
    Default,
    /// Other variables.
    Derived,
}

impl Origin {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Origin::Environment => "environment",
            Origin::Default => "default",
            Origin::Derived => "derived",
        }
    }
}

/// A variable and what stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub variable: &'static Variable,
    /// Its value, as it would be written; `None` when it is not set and stands for nothing.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

/// All variables, in the order of the table, as a node with the environment `vars` has them.
///
/// # Errors
/// As [`Config::from_env`]: what such a node would stop with.
pub fn effective<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Vec<Setting>, ConfigError>
where
    N: Into<OsString>,
    V: Into<OsString>,
{
    let vars: Vec<(OsString, OsString)> =
        vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let config = Config::from_env(vars.iter().cloned())?;
    Log::from_env(vars.iter().cloned())?;
    let given: BTreeMap<&str, String> = vars
        .iter()
        .filter_map(|(name, value)| {
            let known = variable::find(name.to_str()?)?;
            Some((known.name, value.to_string_lossy().into_owned()))
        })
        .collect();
    Ok(VARIABLES.iter().map(|variable| setting(variable, &given, &config)).collect())
}

fn setting(
    variable: &'static Variable,
    given: &BTreeMap<&str, String>,
    config: &Config,
) -> Setting {
    let (value, origin) = match given.get(variable.name) {
        Some(value) => (Some(value.clone()), Origin::Environment),
        None if !variable.default.starts_with('(') => {
            (Some(variable.default.to_owned()), Origin::Default)
        }
        None => match variable.name {
            "KVORUM_RAFT_ADVERTISE" => (Some(config.raft_advertise.clone()), Origin::Derived),
            "KVORUM_HTTP_ADVERTISE" => (Some(config.http_advertise.clone()), Origin::Derived),
            _ => (None, Origin::Default),
        },
    };
    Setting { variable, value, origin }
}
