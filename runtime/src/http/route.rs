//! Which path means what, and which methods it takes.
//!
//! Rule: one table; 404, 405, OPTIONS, HEAD and the OpenAPI document follow from it. Must never:
//! let a key collide with a path (keys live under `/key/`).

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'p> {
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
    /// `/cluster/members/{member}`
    Member(&'p str),
    /// `/cluster/members/{member}/promote`
    Promote(&'p str),
    /// `/cluster/members/{member}/demote`
    Demote(&'p str),
    /// `/settings`
    Settings,
    /// `/compact`
    Compact,
    /// `/watches`
    Watches,
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
    /// `/metrics`
    Metrics,
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
    ("/settings", Route::Settings),
    ("/compact", Route::Compact),
    ("/watches", Route::Watches),
    ("/metrics", Route::Metrics),
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
    ("/cluster/members/{member}/promote", |path| {
        member(path)?.strip_suffix("/promote").map(Route::Promote)
    }),
    ("/cluster/members/{member}/demote", |path| {
        member(path)?.strip_suffix("/demote").map(Route::Demote)
    }),
    ("/cluster/members/{member}", |path| member(path).map(Route::Member)),
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

/// What follows in a path about a member.
fn member(path: &str) -> Option<&str> {
    path.strip_prefix("/cluster/members/")
}

/// What metrics call the routes; in order. The last is for paths that do not exist.
pub(crate) const LABELS: [&str; 28] = [
    "/cluster",
    "/cluster/members/{member}",
    "/cluster/members/{member}/demote",
    "/cluster/members/{member}/promote",
    "/cluster/transfer",
    "/compact",
    "/health",
    "/join",
    "/key",
    "/key/{key}",
    "/keys",
    "/lease",
    "/lease/{id}",
    "/lease/{id}/keepalive",
    "/leases",
    "/livez",
    "/lock/{name}",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/server",
    "/settings",
    "/status",
    "/txn",
    "/version",
    "/watch",
    "/watches",
    "none",
];

/// What metrics call the methods. The last is for all others.
pub(crate) const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];

/// The place of a method in `METHODS`.
pub(super) fn method_place(method: &hyper::Method) -> usize {
    let known = METHODS.iter().position(|name| *name == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

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

    /// The place in `LABELS` of what `path` names.
    pub(super) fn place(route: Option<Route<'_>>) -> usize {
        let last = LABELS.len() - 1;
        route.map_or(last, |route| LABELS[..last].binary_search(&route.label()).unwrap_or(last))
    }

    /// What metrics call it; one of `LABELS`.
    fn label(self) -> &'static str {
        match self {
            Route::Keys => "/key",
            Route::Key(_) => "/key/{key}",
            Route::Range => "/keys",
            Route::Txn => "/txn",
            Route::Watch => "/watch",
            Route::Join => "/join",
            Route::NewLease => "/lease",
            Route::Lease(_) => "/lease/{id}",
            Route::KeepAlive(_) => "/lease/{id}/keepalive",
            Route::Leases => "/leases",
            Route::Lock(_) => "/lock/{name}",
            Route::Cluster => "/cluster",
            Route::Transfer => "/cluster/transfer",
            Route::Member(_) => "/cluster/members/{member}",
            Route::Promote(_) => "/cluster/members/{member}/promote",
            Route::Demote(_) => "/cluster/members/{member}/demote",
            Route::Settings => "/settings",
            Route::Compact => "/compact",
            Route::Watches => "/watches",
            Route::Status => "/status",
            Route::Health => "/health",
            Route::Livez => "/livez",
            Route::Readyz => "/readyz",
            Route::Version => "/version",
            Route::Metrics => "/metrics",
            Route::OpenApi => "/openapi.json",
            Route::Server => "/server",
        }
    }

    /// The methods it takes, as the `Allow` header lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Keys
            | Route::Txn
            | Route::NewLease
            | Route::KeepAlive(_)
            | Route::Join
            | Route::Transfer
            | Route::Promote(_)
            | Route::Demote(_)
            | Route::Compact => "POST, OPTIONS",
            Route::Member(_) => "DELETE, OPTIONS",
            Route::Settings => "GET, HEAD, PATCH, OPTIONS",
            Route::Lock(_) => "GET, HEAD, POST, DELETE, OPTIONS",
            Route::Key(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Route::Range | Route::Lease(_) => "GET, HEAD, DELETE, OPTIONS",
            Route::Server => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Route::Watch
            | Route::Watches
            | Route::Leases
            | Route::Cluster
            | Route::Status
            | Route::Health
            | Route::Livez
            | Route::Readyz
            | Route::Version
            | Route::OpenApi
            | Route::Metrics => "GET, HEAD, OPTIONS",
        }
    }
}
