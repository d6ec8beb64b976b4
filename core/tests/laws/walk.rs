//! How many bytes a value holds, by walking it.
//!
//! Rule: `Raft` is `Hash`, and a hash walks every field, every element of every collection and every
//! byte of every payload. A hasher that only counts is therefore an accounting that the core cannot
//! forget to update. A payload held twice counts twice. Must never: count capacity or what the
//! allocator adds.

use std::hash::{Hash, Hasher};

struct Count(u64);

impl Hasher for Count {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// Bytes that `value` holds.
pub fn bytes(value: &impl Hash) -> u64 {
    let mut count = Count(0);
    value.hash(&mut count);
    count.finish()
}

#[test]
fn every_byte_counts() {
    assert_eq!(bytes(&7_u64), 8);
    assert_eq!(bytes(&vec![1_u32, 2, 3]), 8 + 12);
    assert_eq!(bytes(&bytes::Bytes::from_static(b"12345")), 8 + 5);
    assert_eq!(bytes(&Some(1_u8)), 8 + 1);
}
