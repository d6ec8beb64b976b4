//! Which path means what, and which methods it takes.
//!
//! Rule: one table; 404, 405, OPTIONS, HEAD and the OpenAPI document follow from it. Must never:
//! let a key collide with a path (keys live under `/key/`).

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
    /// `/lease`
    NewLease,
    /// `/lease/{id}`
    Lease(&'p str),
    /// `/lease/{id}/keepalive`
    KeepAlive(&'p str),
    /// `/leases`
    Leases,
    /// `/lock/…`: what follows the second slash, as it came.
    Lock(&'p str),
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
    /// `/openapi.json`
    OpenApi,
    /// `*`: the server itself (RFC 9110 §9.3.7).
    Server,
}

/// The paths without a variable part.
const FIXED: &[(&str, Route<'static>)] = &[
    ("/key", Route::Keys),
    ("/keys", Route::Range),
    ("/txn", Route::Txn),
    ("/watch", Route::Watch),
    ("/lease", Route::NewLease),
    ("/leases", Route::Leases),
    ("/join", Route::Join),
    ("/cluster", Route::Cluster),
    ("/cluster/transfer", Route::Transfer),
    ("/status", Route::Status),
    ("/health", Route::Health),
    ("/livez", Route::Livez),
    ("/readyz", Route::Readyz),
    ("/version", Route::Version),
    ("/openapi.json", Route::OpenApi),
];

/// How a path with a variable part is read; `None` when it is another path.
type Read = for<'p> fn(&'p str) -> Option<Route<'p>>;

/// The paths with a variable part, in the order in which they are tried.
const VARIABLE: &[(&str, Read)] = &[
    ("/key/{key}", |path| path.strip_prefix("/key/").map(Route::Key)),
    // The same with an empty key: the key is in `?b64=`.
    ("/key/", |path| (path == "/key/").then_some(Route::Key(""))),
    ("/lease/{id}/keepalive", |path| {
        let id = path.strip_prefix("/lease/")?.strip_suffix("/keepalive")?;
        (!id.is_empty() && !id.contains('/')).then_some(Route::KeepAlive(id))
    }),
    ("/lease/{id}", |path| {
        let id = path.strip_prefix("/lease/")?;
        (!id.is_empty() && !id.contains('/')).then_some(Route::Lease(id))
    }),
    ("/lock/{name}", |path| {
        path.strip_prefix("/lock/").filter(|name| !name.is_empty()).map(Route::Lock)
    }),
];

impl Route<'_> {
    /// What `path` names, if anything.
    pub(super) fn of(path: &str) -> Option<Route<'_>> {
        let fixed = || FIXED.iter().find(|(known, _)| *known == path).map(|(_, route)| *route);
        let server = || (path == "*").then_some(Route::Server);
        VARIABLE.iter().find_map(|(_, read)| read(path)).or_else(fixed).or_else(server)
    }

    /// Every path there is, its variable part in braces.
    pub(super) fn templates() -> impl Iterator<Item = &'static str> {
        let variable = VARIABLE.iter().map(|(template, _)| *template);
        FIXED.iter().map(|(path, _)| *path).chain(variable)
    }

    /// The methods it takes, as the `Allow` header lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Keys
            | Route::Txn
            | Route::NewLease
            | Route::KeepAlive(_)
            | Route::Join
            | Route::Transfer => "POST, OPTIONS",
            Route::Lock(_) => "GET, HEAD, POST, DELETE, OPTIONS",
            Route::Key(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Route::Range | Route::Lease(_) => "GET, HEAD, DELETE, OPTIONS",
            Route::Server => "GET, HEAD, POST, PUT, DELETE, OPTIONS",
            Route::Watch
            | Route::Leases
            | Route::Cluster
            | Route::Status
            | Route::Health
            | Route::Livez
            | Route::Readyz
            | Route::Version
            | Route::OpenApi => "GET, HEAD, OPTIONS",
        }
    }
}
