//! Masking keys that a test knows beforehand, so that it can compare octets. Without a guard of this module
//! keys come from the operating system, whatever features are on.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

thread_local! {
    static KEY: Cell<Option<[u8; 4]>> = const { Cell::new(None) };
}

/// While it lives, each frame that a client of this thread sends is masked with the same key.
pub struct FixedMasks {
    before: Option<[u8; 4]>,
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

/// Fixes the masking key of this thread, for tests that compare octets. A key of zeros leaves payloads
/// readable.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use tidegate::WebSocket;
/// use tokio::io::AsyncReadExt;
///
/// let _masks = tidegate::testing::fixed_masks([0; 4]);
/// let (here, mut peer) = tokio::io::duplex(64);
/// let role = tidegate::tidegate_proto::Role::Client;
/// let mut client = WebSocket::from_upgraded(here, role, Default::default(), b"");
/// client.send("hi").await.unwrap();
/// let mut wire = [0; 8];
/// peer.read_exact(&mut wire).await.unwrap();
/// assert_eq!(&wire, b"\x81\x82\0\0\0\0hi");
/// # }
/// ```
pub fn fixed_masks(key: [u8; 4]) -> FixedMasks {
    FixedMasks {
        before: KEY.replace(Some(key)),
        here: PhantomData,
    }
}

/// Fills `bytes` with the key that is fixed, if one is.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    let Some(key) = KEY.get() else {
        return false;
    };
    for (octet, key) in bytes.iter_mut().zip(key.iter().cycle()) {
        *octet = *key;
    }
    true
}

impl Drop for FixedMasks {
    fn drop(&mut self) {
        KEY.set(self.before);
    }
}

impl fmt::Debug for FixedMasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedMasks")
    }
}
