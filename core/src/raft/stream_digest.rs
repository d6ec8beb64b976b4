//! The running digest of a byte stream that comes in pieces.
//!
//! Rule: a weighted sum of the stream's 32-bit words modulo 2^61 − 1, the weights drawn from the
//! words' positions. A sum does not mind where the pieces were cut, so two nodes agree on it
//! whatever their chunk sizes, and a file can be digested again after a restart. Must never: be
//! trusted without the length (zeros at the end add nothing), or against forgery.

/// The digest of a stream's beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamDigest(pub u64);

const PRIME: u64 = (1 << 61) - 1;
const WORD: u64 = 4;

/// The weight of a word (SplitMix64 of its position).
fn weight(position: u64) -> u64 {
    let mut z = position.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % PRIME
}

impl StreamDigest {
    /// The digest once `data` follows at `offset`, the length so far.
    #[must_use]
    pub fn then(self, offset: u64, data: &[u8]) -> StreamDigest {
        let lead = usize::try_from((WORD - offset % WORD) % WORD).expect("below four");
        let (head, body) = data.split_at(lead.min(data.len()));
        let mut sum = u128::from(self.0);
        let mut add = |at: u64, bytes: &[u8]| {
            let mut word = [0; WORD as usize];
            let start = usize::try_from(at % WORD).expect("below four");
            word[start..start + bytes.len()].copy_from_slice(bytes);
            sum += u128::from(weight(at / WORD)) * u128::from(u32::from_le_bytes(word));
        };
        if !head.is_empty() {
            add(offset, head);
        }
        let mut at = offset + head.len() as u64;
        for bytes in body.chunks(WORD as usize) {
            add(at, bytes);
            at += bytes.len() as u64;
        }
        StreamDigest(u64::try_from(sum % u128::from(PRIME)).expect("below the prime"))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use quickcheck::quickcheck;
    use std::vec::Vec;

    quickcheck! {
        fn it_does_not_matter_where_a_stream_is_cut(bytes: Vec<u8>, cuts: Vec<u8>) -> bool {
            let mut digest = StreamDigest::default();
            let mut at = 0;
            for cut in cuts {
                let end = bytes.len().min(at + usize::from(cut % 9));
                digest = digest.then(at as u64, &bytes[at..end]);
                at = end;
            }
            digest.then(at as u64, &bytes[at..]) == StreamDigest::default().then(0, &bytes)
        }

        fn a_changed_byte_changes_the_digest(bytes: Vec<u8>, at: usize, by: u8) -> bool {
            let mut changed = bytes.clone();
            let length = bytes.len().max(1);
            if let Some(byte) = changed.get_mut(at % length) {
                *byte = byte.wrapping_add(by.max(1));
            }
            let digest = |bytes: &[u8]| StreamDigest::default().then(0, bytes);
            bytes.is_empty() || digest(&bytes) != digest(&changed)
        }

        fn two_words_in_each_others_place_change_it(bytes: Vec<u8>) -> bool {
            let mut swapped = bytes.clone();
            if swapped.len() < 8 || swapped[..4] == swapped[4..8] {
                return true;
            }
            swapped[..8].rotate_left(4);
            let digest = |bytes: &[u8]| StreamDigest::default().then(0, bytes);
            digest(&bytes) != digest(&swapped)
        }
    }

    #[test]
    fn the_numbers_are_those_that_other_versions_know() {
        let digest = |bytes: &[u8]| StreamDigest::default().then(0, bytes).0;
        let counting: Vec<u8> = (0..200).collect();
        assert_eq!(digest(b"kvorum"), 0x1384_43e5_51f2_95e8);
        assert_eq!(digest(&counting), 0x05e7_aa33_0dfb_d974);
    }
}
