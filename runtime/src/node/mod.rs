//! The node: drives the core.
