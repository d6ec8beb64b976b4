//! Ranges of keys, to be asked which of them hold a key.
//!
//! Rule: a tree ordered by where ranges begin; each node knows how far the ranges below it reach, so
//! that whole branches which end before the key are passed over. Its balance comes from numbers
//! drawn from a seed that no client knows. Must never: look at ranges in proportion to how many do
//! not hold the key.

use bytes::Bytes;

/// Ranges by number.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    root: Link,
    seed: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    start: Bytes,
    /// The first key no longer in; `None`: there is none.
    end: Option<Bytes>,
    id: u64,
    /// The furthest end of this node and all below it.
    reach: Option<Bytes>,
    /// A node's is not smaller than those below it.
    priority: u64,
    left: Link,
    right: Link,
}

impl Intervals {
    /// None yet. `seed` decides the shape.
    pub fn new(seed: u64) -> Intervals {
        Intervals { root: None, seed }
    }

    /// Adds the range `start <= key < end` under a number that is not in use.
    pub fn add(&mut self, id: u64, start: Bytes, end: Option<Bytes>) {
        let priority = mix(self.seed ^ mix(id));
        let (reach, left, right) = (end.clone(), None, None);
        let node = Box::new(Node { start, end, id, reach, priority, left, right });
        let (before, after) = split(self.root.take(), &node.start, id);
        self.root = merge(merge(before, Some(node)), after);
    }

    /// Removes the range that was added so.
    pub fn remove(&mut self, id: u64, start: &[u8]) {
        let (before, rest) = split(self.root.take(), start, id);
        let (_removed, after) = split(rest, start, id + 1);
        self.root = merge(before, after);
    }

    /// Adds the numbers of all ranges that hold `key`; returns how many nodes were looked at.
    pub fn find(&self, key: &[u8], found: &mut Vec<u64>) -> usize {
        walk(&self.root, key, found)
    }
}

fn walk(link: &Link, key: &[u8], found: &mut Vec<u64>) -> usize {
    let Some(node) = link else { return 0 };
    if !is_before(key, &node.reach) {
        return 1;
    }
    let mut looks = 1 + walk(&node.left, key, found);
    if &node.start[..] <= key {
        if is_before(key, &node.end) {
            found.push(node.id);
        }
        looks += walk(&node.right, key, found);
    }
    looks
}

/// The nodes before `(start, id)`, and the others.
fn split(link: Link, start: &[u8], id: u64) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if (&node.start[..], node.id) < (start, id) {
        let (middle, after) = split(node.right.take(), start, id);
        node.right = middle;
        node.note_reach();
        (Some(node), after)
    } else {
        let (before, middle) = split(node.left.take(), start, id);
        node.left = middle;
        node.note_reach();
        (before, Some(node))
    }
}

/// One tree of two, of which the first lies before the second.
fn merge(before: Link, after: Link) -> Link {
    match (before, after) {
        (None, one) | (one, None) => one,
        (Some(mut a), Some(mut b)) => Some(if a.priority >= b.priority {
            a.right = merge(a.right.take(), Some(b));
            a.note_reach();
            a
        } else {
            b.left = merge(Some(a), b.left.take());
            b.note_reach();
            b
        }),
    }
}

impl Node {
    fn note_reach(&mut self) {
        let mut reach = self.end.clone();
        for below in [&self.left, &self.right].into_iter().flatten() {
            reach = match (reach, &below.reach) {
                (Some(a), Some(b)) => Some(if a < *b { b.clone() } else { a }),
                _ => None,
            };
        }
        self.reach = reach;
    }
}

fn is_before(key: &[u8], end: &Option<Bytes>) -> bool {
    end.as_ref().is_none_or(|end| key < &end[..])
}

/// A number that looks drawn at random (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Bytes {
        Bytes::from(format!("{number:08}"))
    }

    /// The numbers found, in order, and how many looks it took.
    fn find(tree: &Intervals, at: u64) -> (Vec<u64>, usize) {
        let mut found = Vec::new();
        let looks = tree.find(&key(at), &mut found);
        found.sort_unstable();
        (found, looks)
    }

    #[test]
    fn it_finds_what_a_look_at_every_range_finds() {
        let mut tree = Intervals::new(7);
        let mut plain: Vec<(u64, u64, Option<u64>)> = Vec::new();
        for id in 1..=600_u64 {
            let start = mix(id) % 500;
            let end = match mix(id * 3) % 10 {
                0 => None,
                // Some are empty, some hold one key.
                length => Some(start + length * length - 1),
            };
            tree.add(id, key(start), end.map(key));
            plain.push((id, start, end));
            if id % 3 == 0 {
                let place = usize::try_from(mix(id * 5)).unwrap_or(0) % plain.len();
                let (id, start, _) = plain.swap_remove(place);
                tree.remove(id, &key(start));
            }
            let at = mix(id * 7) % 600;
            let mut holds: Vec<u64> = plain
                .iter()
                .filter(|(_, start, end)| *start <= at && end.is_none_or(|end| at < end))
                .map(|(id, _, _)| *id)
                .collect();
            holds.sort_unstable();
            assert_eq!(find(&tree, at).0, holds, "after {id}, at {at}");
        }
    }

    #[test]
    fn ten_thousand_ranges_that_do_not_hold_the_key_cost_a_few_looks() {
        let looks = |ranges: u64| {
            let mut tree = Intervals::new(1);
            for id in 1..=ranges {
                tree.add(id, key(id * 10), Some(key(id * 10 + 5)));
            }
            tree.add(ranges + 1, key(5_000), Some(key(5_008)));
            let (found, looks) = find(&tree, 5_007);
            assert_eq!(found, [ranges + 1]);
            looks
        };
        let (few, many) = (looks(1_000), looks(10_000));
        assert!(many < 100, "{many} looks among 10,000 ranges");
        assert!(many < 4 * few, "{few} looks among 1,000, {many} among 10,000");
    }
}
