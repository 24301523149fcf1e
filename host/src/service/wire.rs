//! Wire: the one thing the host reads in a request, the id that names its shard.

/// A message that is not encoded as protobuf says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The last value of an integer field of a message, as 64 bits; 0 if it is not there. Fields of other kinds are
/// skipped (<https://protobuf.dev/programming-guides/encoding/>).
pub(super) fn integer(mut bytes: &[u8], field: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let ours = key >> 3 == u64::from(field);
        let value = match key & 7 {
            0 => Some(varint(&mut bytes)?),
            1 => Some(u64::from_le_bytes(*take::<8>(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed)?;
                bytes = bytes.get(length..).ok_or(Malformed)?;
                None
            }
            5 => Some(u64::from(u32::from_le_bytes(*take::<4>(&mut bytes)?))),
            // Groups are not used since proto2.
            _ => return Err(Malformed),
        };
        if let (true, Some(value)) = (ours, value) {
            found = value;
        }
    }
    Ok(found)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let [byte] = *take::<1>(bytes)?;
        // The tenth byte has one bit left of 64; what is above is dropped, as decoders do.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct RehearsalInput {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(bytes = "vec", tag = "2")]
        body: Vec<u8>,
        #[prost(int64, tag = "3")]
        signed: i64,
        #[prost(fixed64, tag = "4")]
        fixed: u64,
        #[prost(double, tag = "20")]
        double: f64,
    }

    proptest! {
        #[test]
        fn finds_what_prost_has_written(
            id: u64, body in prop::collection::vec(any::<u8>(), 0..200), signed: i64, fixed: u64, double: f64
        ) {
            let bytes = RehearsalInput { id, body, signed, fixed, double }.encode_to_vec();
            prop_assert_eq!(integer(&bytes, 1), Ok(id));
            prop_assert_eq!(integer(&bytes, 3), Ok(signed as u64));
            prop_assert_eq!(integer(&bytes, 4), Ok(fixed));
            prop_assert_eq!(integer(&bytes, 7), Ok(0));
        }

        #[test]
        fn takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64), field in 1_u32..40) {
            // Whatever prost takes is taken.
            if RehearsalInput::decode(&bytes[..]).is_ok() && integer(&bytes, field).is_err() {
                // Prost knows groups, which nothing here uses.
                prop_assert!(bytes.iter().any(|byte| matches!(byte & 7, 3 | 4)));
            }
        }
    }

    #[test]
    fn the_last_value_counts() {
        assert_eq!(integer(&[8, 1, 8, 2], 1), Ok(2));
        assert_eq!(integer(&[], 1), Ok(0));
        for torn in [&[8][..], &[8, 0x80], &[18, 5, 1], &[33, 1], &[11], &[0x80; 11]] {
            assert_eq!(integer(torn, 1), Err(Malformed), "{torn:?}");
        }
    }
}
