//! The fields everything is encoded with.

use bytes::{Bytes, BytesMut};
use kvorum_core::codec::*;
use quickcheck::quickcheck;

#[test]
fn numbers_take_seven_bits_a_byte() {
    for (number, bytes) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ] {
        let mut out = BytesMut::new();
        put_u64(&mut out, number);
        assert_eq!(out, bytes, "{number}");
    }
}

#[test]
fn what_is_longer_than_needed_or_than_64_bits_is_malformed() {
    for bytes in [
        &[][..],
        &[0x80],
        &[0x80, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
    ] {
        let mut input = Bytes::copy_from_slice(bytes);
        assert_eq!(get_u64(&mut input, "n"), Err(Malformed("n")), "{bytes:?}");
    }
}

quickcheck! {
    fn numbers_are_read_back_and_nothing_after_them_is_touched(n: u64, rest: Vec<u8>) -> bool {
        let mut out = BytesMut::new();
        put_u64(&mut out, n);
        out.extend_from_slice(&rest);
        let mut input = out.freeze();
        get_u64(&mut input, "n") == Ok(n) && input == rest
    }

    fn byte_strings_are_read_back_and_cut_ones_are_malformed(text: Vec<u8>, cut: usize) -> bool {
        let mut out = BytesMut::new();
        put_bytes(&mut out, &text);
        let whole = out.freeze();
        let short = whole.slice(..cut % whole.len());
        get_bytes(&mut whole.clone(), "text") == Ok(Bytes::from(text))
            && get_bytes(&mut short.clone(), "text") == Err(Malformed("text"))
    }

    fn lists_are_read_back(items: Vec<u64>) -> bool {
        let mut out = BytesMut::new();
        put_u64(&mut out, items.len() as u64);
        items.iter().for_each(|&item| put_u64(&mut out, item));
        get_list(&mut out.freeze(), "list", |input| get_u64(input, "item")) == Ok(items)
    }

    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) -> bool {
        let bytes = Bytes::from(bytes);
        let _ = get_bool(&mut bytes.clone(), "b");
        let _ = get_bytes(&mut bytes.clone(), "s");
        let _ = get_list(&mut bytes.clone(), "l", |input| get_bytes(input, "s"));
        true
    }
}
