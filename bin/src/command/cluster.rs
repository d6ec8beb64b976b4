//! `kvorum status`, `members`, `transfer`, `remove`, `promote`, `demote`.
//!
//! Rule: what a node says is shown as it says it. Must never: repeat a change of the membership
//! whose outcome is open; somebody has to look first.

use crate::{
    args::{Output, Reach},
    client::{Call, Failure, Repeat, Target},
    exit, show,
};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

/// Print what a node says of itself
///
/// The node is the first of the endpoints that answers.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum status --endpoints localhost:8082")]
pub struct Status {
    #[command(flatten)]
    pub reach: Reach,
}

/// Print the members of the cluster
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum members\n  \
    kvorum members -o json | jq -r .leader")]
pub struct Members {
    #[command(flatten)]
    pub reach: Reach,
}

/// Hand leadership to another voter
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum transfer app2")]
pub struct Transfer {
    /// NODE_ID of the successor; the voter that is furthest when not given
    to: Option<String>,
    #[command(flatten)]
    pub reach: Reach,
}

/// Remove a member from the cluster
///
/// Refused when the remaining voters would have no majority. The node is not stopped.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum remove app3")]
pub struct Remove {
    /// NODE_ID of the member
    name: String,
    #[command(flatten)]
    pub reach: Reach,
}

/// Make a learner a voter
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum promote app4")]
pub struct Promote {
    /// NODE_ID of the member
    name: String,
    #[command(flatten)]
    pub reach: Reach,
}

/// Make a voter a learner that is not promoted by itself
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum demote app4")]
pub struct Demote {
    /// NODE_ID of the member
    name: String,
    #[command(flatten)]
    pub reach: Reach,
}

impl Status {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let call = Call::read(Target::of("/status")).untimed();
        let told = self.reach.client()?.call(&call).await?.json()?;
        show::line(match self.reach.output {
            Output::Json => told.to_string(),
            Output::Text => members_of(&told),
        })?;
        Ok(0)
    }
}

impl Members {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let call = Call::read(Target::of("/cluster")).untimed();
        let told = self.reach.client()?.call(&call).await?.json()?;
        if self.reach.output == Output::Json {
            show::line(told.to_string())?;
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = told["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|member| {
                let voter = if member["voter"] == true { "voter" } else { "learner" };
                let voter = member["role"].as_str().unwrap_or(voter);
                let leads = member["node_id"] == told["leader"];
                vec![
                    show::cell(&member["node_id"]),
                    if leads { "leader".to_owned() } else { voter.to_owned() },
                    show::cell(&member["http"]),
                    show::cell(&member["address"]),
                    show::cell(&member["lag"]),
                    show::cell(&member["last_contact"]),
                ]
            })
            .collect();
        let head = ["NAME", "ROLE", "HTTP", "RAFT", "LAG", "LAST CONTACT"];
        show::print(show::table(&head, &rows))?;
        let warnings = told["warnings"].as_array().into_iter().flatten();
        for said in warnings.filter_map(Value::as_str) {
            exit::say(said);
        }
        Ok(0)
    }
}

impl Transfer {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let body = self.to.map_or(json!({}), |to| json!({"to": to}));
        let target = Target::of("/cluster/transfer");
        let call = Call::new(Method::POST, target, Repeat::Never).body(body.to_string());
        change(&self.reach, &call).await
    }
}

impl Remove {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let target = Target::named("/cluster/members/", self.name.as_bytes(), "");
        change(&self.reach, &Call::new(Method::DELETE, target, Repeat::Never)).await
    }
}

impl Promote {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let target = Target::named("/cluster/members/", self.name.as_bytes(), "/promote");
        change(&self.reach, &Call::new(Method::POST, target, Repeat::Never)).await
    }
}

impl Demote {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let target = Target::named("/cluster/members/", self.name.as_bytes(), "/demote");
        change(&self.reach, &Call::new(Method::POST, target, Repeat::Never)).await
    }
}

async fn change(reach: &Reach, call: &Call) -> Result<u8, Failure> {
    let told = reach.client()?.call(call).await?.json()?;
    show::told(match reach.output {
        Output::Json => told.to_string(),
        Output::Text => {
            let mut text = show::cell(&told["message"]);
            for name in ["name", "leader"] {
                if let Some(member) = told[name].as_str() {
                    text.push_str(&format!(", {name} {member}"));
                }
            }
            text
        }
    });
    Ok(0)
}

/// An object as lines of a name and a value.
fn members_of(object: &Value) -> String {
    let members: Vec<(&String, &Value)> = object.as_object().into_iter().flatten().collect();
    let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {}", show::cell(value)))
        .collect();
    lines.join("\n")
}
