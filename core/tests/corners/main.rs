//! What no script can say: events in an order, or with a content, that the scripts' machine never
//! has, and bounds that are met exactly. One node alone, through the public surface.

mod bench;
mod bounds;
mod members;
mod order;
mod snapshots;
