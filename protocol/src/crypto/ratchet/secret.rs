//! Symmetric secrets of the ratchet: 32 bytes each, one type per role, wiped when dropped.

use zeroize::ZeroizeOnDrop;

use crate::encoding::{Decode, DecodeError, Encode, Reader};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
        pub(super) struct $name(pub(super) [u8; 32]);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "([scrubbed])"))
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self)
            }
        }
    )+};
}

secrets!(
    /// What the next step of the ratchet is derived from.
    RootKey,
    /// What the next message of a chain is encrypted with is derived from it.
    ChainKey,
    /// Encrypts the headers of one chain.
    HeaderKey,
);
