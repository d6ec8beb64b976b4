//! Why a command did not do what it was asked.
//!
//! Rule: one line, cause and cure, and an exit code that says whether anything changed. Must
//! never: soften "unknown" into "failed".

use crate::{args::Output, exit};
use hyper::StatusCode;
use serde_json::{Value, json};

/// A failure, as it is shown.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// The server's code for it, or one of ours: `unreachable`, `not_kvorum`, `invalid_input`, …
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The server's problem object, if this is one.
    pub problem: Option<Box<Value>>,
}

impl Failure {
    /// A failure of our own.
    pub fn new(
        exit: u8,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Failure {
        let (code, message, hint) = (code.to_owned(), message.into(), hint.into());
        Failure { exit, code, message, hint, problem: None }
    }

    /// Something in what the user gave cannot be used.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(exit::MISUSED, "invalid_input", message, hint)
    }

    /// Standard output does not take what was read.
    pub fn output(error: &std::io::Error) -> Failure {
        // `kvorum ls | head`: the reader has what it wanted.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { exit::FAILED };
        let message = format!("cannot write to standard output: {error}");
        Failure::new(exit, "output", message, "free space, or write elsewhere")
    }

    /// An answer that is not what the call promises.
    pub fn strange(what: &str) -> Failure {
        Failure::new(
            exit::FAILED,
            "not_kvorum",
            format!("the answer cannot be understood: {what}"),
            "check that the endpoint is a node of this version",
        )
    }

    /// The refusal of a node; `exit` by what was refused.
    pub fn refused(status: StatusCode, body: &[u8]) -> Failure {
        let Some(problem) = problem(body) else {
            let said: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            let message = format!("the answer is {status}, {said:?}");
            let hint = "check that the endpoint is a node and no proxy in between refuses";
            return Failure::new(exit::FAILED, "not_kvorum", message, hint);
        };
        let text = |name: &str| problem[name].as_str().unwrap_or("").to_owned();
        let (code, message, mut hint) = (text("code"), text("message"), text("hint"));
        match &problem["current"]["mod_revision"] {
            Value::Number(revision) => hint = format!("decide anew; it is at revision {revision}"),
            _ if problem.get("current") == Some(&Value::Null) => {
                "decide anew; there is no such key".clone_into(&mut hint);
            }
            _ => {}
        }
        if hint.is_empty() {
            hint = format!("see docs/errors.md#{code}");
        }
        let exit = match code.as_str() {
            _ if text("applied") == "unknown" => exit::UNKNOWN,
            // It took effect at an earlier attempt; only the answer to that is gone.
            _ if text("applied") == "yes" => 0,
            code if is_no(code) => exit::NO,
            _ => exit::FAILED,
        };
        Failure { exit, code, message, hint, problem: Some(Box::new(problem)) }
    }

    /// What is shown: a line for people, or the problem object for programs.
    pub fn show(&self, output: Output) -> String {
        match (output, &self.problem) {
            (Output::Json, Some(problem)) => problem.to_string(),
            (Output::Json, None) => {
                let mut problem =
                    json!({"code": self.code, "message": self.message, "hint": self.hint});
                if self.exit == exit::UNKNOWN {
                    problem["applied"] = "unknown".into();
                }
                problem.to_string()
            }
            (Output::Text, _) => {
                let Failure { code, message, hint, .. } = self;
                let unknown = match self.exit {
                    exit::UNKNOWN => " The outcome is unknown.",
                    _ => "",
                };
                format!("{message} ({code}).{unknown} To go on: {hint}")
            }
        }
    }
}

/// The problem object of an answer, if it is one.
pub fn problem(body: &[u8]) -> Option<Value> {
    let problem: Value = serde_json::from_slice(body).ok()?;
    problem["code"].is_string().then_some(problem)
}

/// Refusals that answer the question asked: no such thing, not so, not yours.
fn is_no(code: &str) -> bool {
    [
        "key_not_found",
        "lease_not_found",
        "lock_free",
        "unknown_member",
        "key_exists",
        "lease_exists",
        "lock_held",
        "lock_lost",
        "precondition_failed",
        "fenced",
    ]
    .contains(&code)
}
