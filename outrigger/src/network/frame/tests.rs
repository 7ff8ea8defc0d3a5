//! Frames whole, cut, damaged and hostile.

use super::*;
use crate::network::random::Random;

const LIMIT: usize = 1 << 20;

fn one(kind: u8, group: u64, body: &[u8]) -> Vec<u8> {
    let mut output = FrameBuffer::default();
    output.frame(kind, group, LIMIT, |out| out.put_slice(body)).unwrap();
    output.to_vec()
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_le_bytes()
}

/// Takes a buffer out in steps of random length, through both faces of `Buf`.
fn drain(mut output: FrameBuffer, random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    while output.has_remaining() {
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = output.chunks_vectored(&mut slices);
        let joined = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>();
        assert!(!output.chunk().is_empty() && joined.starts_with(output.chunk()));
        let step = usize::try_from(random.below(joined.len() as u64)).unwrap() + 1;
        all.extend_from_slice(&joined[..step]);
        output.advance(step);
    }
    all
}

#[test]
fn the_layout_is_fixed_byte_by_byte() {
    let bytes = one(3, 0x0102, b"hi");
    let checked = [&[FRAME_VERSION, 3, 2, 1, 0, 0, 0, 0, 0, 0][..], b"hi"].concat();
    let checksum = crc32c::crc32c_append(2, &checked).to_le_bytes();
    let expected = [&[2, 0, 0, 0][..], &checksum, &checked].concat();
    assert_eq!(bytes, expected);
    assert_eq!(bytes.len(), HEADER_BYTES + 2);
}

#[test]
fn what_arrives_at_once_is_one_frame_or_none() {
    let bytes = one(3, 0x0102, b"hi");
    let frame = Frame { kind: 3, group: 0x0102, body: Bytes::from_static(b"hi") };
    assert_eq!(whole(bytes.clone().into()), Ok(Some(frame)));
    for length in 0..bytes.len() {
        assert_eq!(whole(Bytes::copy_from_slice(&bytes[..length])), Ok(None), "{length} bytes of a frame");
    }
    assert_eq!(whole([&bytes[..], b"!"].concat().into()), Ok(None), "a frame, and a byte behind it");
    for (at, is_expected) in [(8, "version"), (HEADER_BYTES, "checksum")] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let error = whole(damaged.into()).unwrap_err();
        assert!(error.to_string().contains(is_expected), "{error}");
    }
}

#[test]
fn frames_come_out_whole_however_they_arrive() {
    let mut random = Random::new(1);
    for _ in 0..300 {
        let mut output = FrameBuffer::default();
        let mut bodies = Vec::new();
        for kind in 0..random.below(6) {
            let parts = (0..random.below(4)).map(|_| {
                let length = random.below(3) * random.below(2 * SHARED_BYTES_MIN as u64);
                Bytes::from(vec![random.next().to_le_bytes()[0]; usize::try_from(length).unwrap()])
            });
            let parts: Vec<Bytes> = parts.collect();
            let kind = u8::try_from(kind).unwrap();
            output.frame(kind, 7, LIMIT, |out| parts.iter().for_each(|part| out.put_bytes(part))).unwrap();
            let body = parts.iter().flat_map(|part| [&length(part.len())[..], part].concat());
            bodies.push((kind, body.collect::<Vec<u8>>()));
        }
        let (copied, bytes) = (output.to_vec(), drain(output, &mut random));
        assert_eq!(copied, bytes);

        let (mut input, mut seen) = (BytesMut::new(), Vec::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let step = usize::try_from(random.below(rest.len() as u64)).unwrap() + 1;
            input.extend_from_slice(&rest[..step]);
            rest = &rest[step..];
            while let Some(frame) = split(&mut input, LIMIT).unwrap() {
                assert_eq!(frame.group, 7);
                seen.push((frame.kind, frame.body.to_vec()));
            }
        }
        assert_eq!(seen, bodies);
        assert!(input.is_empty());
    }
}

#[test]
fn a_large_payload_is_never_copied() {
    let payload = Bytes::from(vec![5; SHARED_BYTES_MIN]);
    let mut output = FrameBuffer::default();
    output.frame(1, 0, LIMIT, |out| out.put_bytes(&payload)).unwrap();
    output.advance(HEADER_BYTES + 4);
    assert_eq!(output.chunk().as_ptr(), payload.as_ptr());
    let mut input = BytesMut::from(&one(1, 0, &payload)[..]);
    let place = input[HEADER_BYTES..].as_ptr();
    assert_eq!(split(&mut input, LIMIT).unwrap().unwrap().body.as_ptr(), place);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = one(9, 3, b"some body");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let outcome = split(&mut BytesMut::from(&damaged[..]), LIMIT);
        assert!(!matches!(outcome, Ok(Some(_))), "bit {bit} flipped, and the frame was taken");
    }
}

#[test]
fn an_incomplete_frame_is_waited_for_and_a_hopeless_one_is_not() {
    let bytes = one(9, 3, b"some body");
    for cut in 0..bytes.len() {
        assert_eq!(split(&mut BytesMut::from(&bytes[..cut]), LIMIT), Ok(None), "cut at {cut}");
    }
    let mut garbage = BytesMut::from(&b"GET / HTTP/1.1\r\nHost: a\r\n"[..]);
    let error = split(&mut garbage, LIMIT).unwrap_err();
    assert_eq!(error, FrameError::TooLong { bytes: 0x2054_4547, limit: LIMIT });
    let newer = [&[1, 0, 0, 0][..], &[0; 4], &[9], &[0; 9]].concat();
    assert_eq!(split(&mut BytesMut::from(&newer[..]), LIMIT), Err(FrameError::Version { found: 9 }));
}

#[test]
fn an_announced_length_costs_nothing_until_its_bytes_arrive() {
    let announced = [&length(LIMIT)[..], &[0; 4], &[FRAME_VERSION, 1], &[0; 8]].concat();
    let mut input = BytesMut::from(&announced[..]);
    assert_eq!(split(&mut input, LIMIT), Ok(None));
    assert!(input.capacity() <= 2 * READ_BYTES, "{} bytes for a header", input.capacity());
    input.resize(LIMIT / 2, 0);
    assert_eq!(split(&mut input, LIMIT), Ok(None));
    assert!(input.capacity() > input.len() && input.capacity() <= 2 * LIMIT);
}

#[test]
fn a_frame_above_the_limit_leaves_no_trace() {
    let mut output = FrameBuffer::default();
    output.frame(1, 0, 10, |out| out.put_slice(b"fits")).unwrap();
    let before = output.to_vec();
    let large = Bytes::from(vec![0; SHARED_BYTES_MIN]);
    let refused = output.frame(1, 0, 10, |out| out.put_bytes(&large));
    assert_eq!(refused, Err(FrameError::TooLong { bytes: SHARED_BYTES_MIN + 4, limit: 10 }));
    output.frame(2, 0, 10, |out| out.put_slice(b"next")).unwrap();
    assert_eq!(output.to_vec(), [before, one(2, 0, b"next")].concat());
}

#[test]
fn a_cleared_buffer_is_as_good_as_new() {
    let mut output = FrameBuffer::default();
    for body in [&[1; 5000][..], &[], &[2; 3]] {
        output.frame(1, 0, LIMIT, |out| out.put_bytes(&Bytes::copy_from_slice(body))).unwrap();
        let expected = [&length(body.len())[..], body].concat();
        assert_eq!(drain(std::mem::take(&mut output), &mut Random::new(2)), one(1, 0, &expected));
        output.clear();
        assert!(!output.has_remaining());
    }
}

/// Found by reading: a connection that had sent one large frame kept its memory for as long as it lasted, and so did each small write
/// behind it for as long as that was held.
#[test]
fn the_memory_of_a_large_frame_goes_with_its_body() {
    let limit = 64 << 20;
    let mut sent = Vec::new();
    for bytes in [60 << 20, 3, 100_000, 5] {
        let mut output = FrameBuffer::default();
        output.frame(70, 0, limit, |out| out.put_slice(&vec![7; bytes])).unwrap();
        sent.extend_from_slice(&output.to_vec());
    }
    let (mut input, mut taken, mut small) = (BytesMut::new(), 0, Vec::new());
    while taken < sent.len() {
        if input.capacity() == input.len() {
            input.reserve(READ_BYTES);
        }
        // As a socket gives it: whatever there is room for.
        let step = (input.capacity() - input.len()).min(sent.len() - taken);
        input.extend_from_slice(&sent[taken..taken + step]);
        taken += step;
        while let Some(frame) = split(&mut input, limit).unwrap() {
            if frame.body.len() < 10 {
                small.push(frame.body);
            }
        }
    }
    assert!(input.is_empty());
    input.reserve(READ_BYTES);
    assert!(input.capacity() <= 4 * READ_BYTES, "{} bytes are kept for what may come", input.capacity());
    drop(input);
    for body in small {
        let held = body.try_into_mut().map(|mut body| {
            // What its memory holds beside it is given back to it.
            body.clear();
            body.reserve(READ_BYTES);
            body.capacity()
        });
        assert!(held.is_ok_and(|bytes| bytes <= 4 * READ_BYTES), "a small body holds more than its frame");
    }
}

#[test]
fn a_body_of_just_the_limit_is_sent_and_taken() {
    let mut output = FrameBuffer::default();
    assert_eq!(
        output.frame(1, 0, 10, |out| out.put_slice(&[7; 11])),
        Err(FrameError::TooLong { bytes: 11, limit: 10 })
    );
    assert_eq!(output.frame(1, 0, 10, |out| out.put_slice(&[7; 10])), Ok(()));
    let mut input = BytesMut::from(&output.to_vec()[..]);
    assert_eq!(split(&mut input, 10).unwrap().unwrap().body, [7; 10][..]);
}

/// Each connection has a buffer, for as long as it lasts.
#[test]
fn a_buffer_that_once_held_much_gives_it_back() {
    let mut output = FrameBuffer::default();
    output.frame(1, 0, 8 * KEPT_BYTES_MAX, |out| out.put_slice(&vec![7; 4 * KEPT_BYTES_MAX])).unwrap();
    output.clear();
    assert!(output.text.capacity() <= KEPT_BYTES_MAX, "{} bytes are kept", output.text.capacity());
}
