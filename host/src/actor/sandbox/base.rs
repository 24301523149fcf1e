//! Base: how a room began, and the form it is kept in on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugin::{Env, Snapshot};

/// Where a rebuild starts from.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) begin: Begin,
    pub(super) env: Env,
    /// The plugin's settings since then: what is replayed upon the base has to meet the same ones.
    pub(super) settings: Arc<BTreeMap<String, String>>,
}

/// The first call of an instance.
#[derive(Clone)]
pub(super) enum Begin {
    Open,
    Load(Snapshot),
}

impl Base {
    /// Bytes of the state it holds.
    pub(super) fn size(&self) -> usize {
        match &self.begin {
            Begin::Open => 0,
            Begin::Load(snapshot) => snapshot.bytes.len(),
        }
    }

    /// `u32 length, env | u32 length, args | u32 length, settings | u8 0`, or in place of the 0 `u8 1 | u32 schema | snapshot`;
    /// little-endian.
    pub(super) fn encode(&self, args: &[u8]) -> Vec<u8> {
        let env = self.env.to_bytes();
        let mut out = Vec::with_capacity(env.len() + args.len() + 16);
        put(&mut out, &env);
        put(&mut out, args);
        put(&mut out, &postcard::to_stdvec(&*self.settings).expect("plain data encodes"));
        match &self.begin {
            Begin::Open => out.push(0),
            Begin::Load(snapshot) => {
                out.push(1);
                out.extend_from_slice(&snapshot.schema.to_le_bytes());
                out.extend_from_slice(&snapshot.bytes);
            }
        }
        out
    }

    /// About how large [`Self::encode`] is, without the arguments.
    pub(super) fn weight(&self) -> usize {
        self.env.weight() + self.size()
    }

    /// Reads what [`Self::encode`] wrote: the room's arguments and the base. None if it is something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Arc<[u8]>, Self)> {
        let (env, rest) = get(bytes)?;
        let (args, rest) = get(rest)?;
        let (settings, rest) = get(rest)?;
        let settings = Arc::new(postcard::from_bytes(settings).ok()?);
        let begin = match rest.split_first()? {
            (0, []) => Begin::Open,
            (1, rest) => {
                let (schema, state) = rest.split_first_chunk::<4>()?;
                Begin::Load(Snapshot { schema: u32::from_le_bytes(*schema), bytes: state.into() })
            }
            _ => return None,
        };
        Some((args.into(), Self { begin, env: Env::from_bytes(env)?, settings }))
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("profiles and arguments are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn get(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_comes_back_as_it_was() {
        let snapshot = Snapshot { schema: 3, bytes: b"state"[..].into() };
        for begin in [Begin::Open, Begin::Load(snapshot.clone())] {
            let loads = matches!(begin, Begin::Load(_));
            let settings = Arc::new([("key".to_owned(), "value".to_owned())].into());
            let base = Base { begin, env: Env::new(9), settings };
            let (args, back) = Base::decode(&base.encode(b"args")).unwrap();
            assert_eq!(&*args, b"args");
            assert_eq!(back.settings, base.settings);
            assert_eq!(matches!(&back.begin, Begin::Load(found) if *found == snapshot), loads);
        }
        for junk in [&b""[..], &[9; 3], &[0; 8], &[0; 9]] {
            assert!(Base::decode(junk).is_none());
        }
    }
}
