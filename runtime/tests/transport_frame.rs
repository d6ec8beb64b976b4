//! Frames: what is put in comes out, in whatever pieces it arrives; what is not a frame is refused
//! without a panic and without memory for it.

mod transport_support;

use bytes::{Buf, Bytes, BytesMut};
use kvorum_core::raft::{Envelope, Message, Payload};
use kvorum_runtime::transport::frame::{
    Decoder, Frame, FrameError, HEADER_BYTES, Kind, READ_STEP, next_message, put, put_messages,
};
use quickcheck::{QuickCheck, quickcheck};
use transport_support::{append, heartbeat, sequence};

const MAX: usize = 1 << 20;

fn framed(payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put(&mut out, 1, Kind::Messages, |out| out.extend_from_slice(payload));
    out
}

/// Feeds `bytes` in pieces whose sizes `cuts` gives.
fn feed(bytes: &[u8], cuts: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(MAX);
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = cuts.next().unwrap_or(usize::MAX).min(rest.len());
        decoder.space().extend_from_slice(&rest[..n]);
        rest.advance(n);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

quickcheck! {
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, cuts: Vec<u8>) -> bool {
        let _ = feed(&bytes, &cuts);
        // Behind a valid beginning, too.
        let mut longer = framed(&bytes);
        longer.extend_from_slice(&bytes);
        match feed(&longer, &cuts) {
            Ok(frames) => !frames.is_empty(),
            Err(_) => true,
        }
    }

    fn arbitrary_message_payloads_never_panic(bytes: Vec<u8>) -> bool {
        let mut payload = Bytes::from(bytes);
        for _ in 0..=payload.len() {
            let before = payload.len();
            match next_message(&mut payload) {
                Ok(Some(_)) => assert!(payload.len() < before, "every message takes bytes"),
                Ok(None) => return payload.is_empty(),
                Err(_) => return true,
            }
        }
        false
    }

    fn frames_come_out_as_they_went_in_however_they_are_cut(
        payloads: Vec<Vec<u8>>,
        cuts: Vec<u8>
    ) -> bool {
        let mut bytes = BytesMut::new();
        for payload in &payloads {
            put(&mut bytes, 1, Kind::Messages, |out| out.extend_from_slice(payload));
        }
        let frames = feed(&bytes, &cuts).expect("valid frames");
        frames.len() == payloads.len()
            && frames.iter().zip(&payloads).all(|(frame, payload)| {
                frame.kind == Kind::Messages && frame.version == 1 && frame.payload == *payload
            })
    }
}

#[test]
fn any_single_flipped_bit_is_noticed() {
    fn property(payload: Vec<u8>) -> bool {
        let good = framed(&payload);
        (0..good.len() * 8).all(|bit| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            feed(&bad, &[]).is_err()
        })
    }
    QuickCheck::new().tests(40).quickcheck(property as fn(Vec<u8>) -> bool);
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_alone() {
    let huge = framed(&vec![0; MAX + 1]);
    let mut decoder = Decoder::new(MAX);
    decoder.space().extend_from_slice(&huge[..HEADER_BYTES]);
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { len: MAX + 1, max: MAX }));
    assert!(decoder.space().capacity() <= 2 * READ_STEP);
}

#[test]
fn memory_grows_with_what_has_arrived_and_not_with_what_is_announced() {
    let large = framed(&vec![0; MAX]);
    let mut decoder = Decoder::new(MAX);
    for piece in large[..4 * READ_STEP].chunks(1000) {
        assert_eq!(decoder.next_frame(), Ok(None));
        let arrived = decoder.pending().len();
        let space = decoder.space();
        assert!(space.capacity() <= 2 * (arrived + READ_STEP), "{}", space.capacity());
        space.extend_from_slice(piece);
    }
}

#[test]
fn an_unknown_kind_is_named() {
    let mut frame = framed(b"");
    frame[3] = 99;
    let sum = crc32c::crc32c(&frame[..12]);
    frame[12..16].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(feed(&frame, &[]), Err(FrameError::Kind(99)));
}

/// Everything in `bytes`, and how many frames it took.
fn messages(bytes: &[u8]) -> (Vec<Envelope>, usize) {
    let frames = feed(bytes, &[]).expect("valid frames");
    let mut found = Vec::new();
    for frame in &frames {
        let mut payload = frame.payload.clone();
        while let Some(envelope) = next_message(&mut payload).expect("valid messages") {
            found.push(envelope);
        }
    }
    (found, frames.len())
}

#[test]
fn a_batch_is_one_frame_until_the_largest_frame_is_full() {
    let batch: Vec<_> = (0..50).map(|i| append(1, 2, i, 1000)).collect();
    let mut one = BytesMut::new();
    assert_eq!(put_messages(&mut one, 1, &batch, MAX), 0);
    assert_eq!(messages(&one), (batch.clone(), 1));

    let mut several = BytesMut::new();
    assert_eq!(put_messages(&mut several, 1, &batch, 10_000), 0);
    let (found, frames) = messages(&several);
    assert_eq!(found, batch);
    assert!((6..=7).contains(&frames), "{frames} frames of at most 10,000 bytes for 50 kB");
}

#[test]
fn a_message_larger_than_a_frame_is_left_out_and_the_others_are_not() {
    let batch = [heartbeat(1, 2, 0), append(1, 2, 1, 5000), heartbeat(1, 2, 2)];
    let mut out = BytesMut::new();
    assert_eq!(put_messages(&mut out, 1, &batch, 4096), 1);
    let (found, _) = messages(&out);
    assert_eq!(found.iter().map(sequence).collect::<Vec<_>>(), [0, 2]);

    out.clear();
    assert_eq!(put_messages(&mut out, 1, &batch[1..2], 4096), 1);
    assert_eq!(messages(&out), (Vec::new(), 0));
}

#[test]
fn a_small_message_owns_its_memory_and_a_large_one_shares_the_buffer() {
    let batch = [append(1, 2, 0, 100), append(1, 2, 1, 100_000)];
    let mut out = BytesMut::new();
    put_messages(&mut out, 1, &batch, MAX);
    let frame = feed(&out, &[]).unwrap().remove(0);
    let buffer = frame.payload.as_ptr_range();
    let mut payload = frame.payload.clone();
    let inside = |envelope: Envelope| match envelope.message {
        Message::Append { entries, .. } => match &entries[0].payload {
            Payload::Command(bytes) => buffer.contains(&bytes.as_ptr()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert!(!inside(next_message(&mut payload).unwrap().unwrap()));
    assert!(inside(next_message(&mut payload).unwrap().unwrap()));
}

#[test]
fn an_empty_batch_is_no_frame() {
    let mut out = BytesMut::new();
    assert_eq!(put_messages(&mut out, 1, &[], MAX), 0);
    assert!(out.is_empty());
}
