//! Which path means what, and which methods it takes.
//!
//! Rule: one table; 404, 405, OPTIONS and HEAD follow from it. Must never: let a key collide with
//! a path (keys live under `/key/`).

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'p> {
    /// `/key`
    Keys,
    /// `/key/…`: what follows the second slash, as it came.
    Key(&'p str),
    /// `/keys`
    Range,
    /// `/txn`
    Txn,
    /// `/watch`
    Watch,
    /// `/join`
    Join,
    /// `/cluster`
    Cluster,
    /// `/cluster/transfer`
    Transfer,
    /// `/status`
    Status,
    /// `/health`
    Health,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/version`
    Version,
    /// `*`: the server itself (RFC 9110 §9.3.7).
    Server,
}

impl Route<'_> {
    /// What `path` names, if anything.
    pub(super) fn of(path: &str) -> Option<Route<'_>> {
        if let Some(key) = path.strip_prefix("/key/") {
            return Some(Route::Key(key));
        }
        Some(match path {
            "/key" => Route::Keys,
            "/keys" => Route::Range,
            "/txn" => Route::Txn,
            "/watch" => Route::Watch,
            "/join" => Route::Join,
            "/cluster" => Route::Cluster,
            "/cluster/transfer" => Route::Transfer,
            "/status" => Route::Status,
            "/health" => Route::Health,
            "/livez" => Route::Livez,
            "/readyz" => Route::Readyz,
            "/version" => Route::Version,
            "*" => Route::Server,
            _ => return None,
        })
    }

    /// The methods it takes, as the `Allow` header lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Keys | Route::Txn | Route::Join | Route::Transfer => "POST, OPTIONS",
            Route::Key(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Route::Range => "GET, HEAD, DELETE, OPTIONS",
            Route::Server => "GET, HEAD, POST, PUT, DELETE, OPTIONS",
            Route::Watch
            | Route::Cluster
            | Route::Status
            | Route::Health
            | Route::Livez
            | Route::Readyz
            | Route::Version => "GET, HEAD, OPTIONS",
        }
    }
}
