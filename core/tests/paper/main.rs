//! The Raft paper, sentence by sentence: Figure 2, the properties of Figure 3, and chapter 4 of the
//! dissertation, each rule quoted in a few words above a test that drives one node through its public
//! surface.

mod figure_2;
mod figure_3;
mod membership;
mod node;
