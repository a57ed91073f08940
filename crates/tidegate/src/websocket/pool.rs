//! What the connections of one thread share: read buffers, message buffers, the random source; and what all
//! threads share: the codecs and their budget. An idle connection owns none of it.

use crate::OsRandom;
use std::cell::{Cell, RefCell};
use std::sync::LazyLock;
use tidegate_proto::deflate::CodecPool;
use tidegate_proto::{Random, Resources};

/// Bytes read at once. Cost: one such buffer for each connection that holds octets nobody has asked for.
pub(super) const READ: usize = 32 << 10;
/// Most read buffers a thread keeps.
const MAX_KEPT: usize = 16;

/// Of the whole process: a runtime moves connections between threads, and what one of them was given here
/// must come back here. Its lock is taken for compressed messages only.
static CODECS: LazyLock<CodecPool> = LazyLock::new(CodecPool::default);

thread_local! {
    static RESOURCES: RefCell<Resources> = RefCell::new(resources());
    /// The buffer given back last: mostly the only one there is.
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn resources() -> Resources {
    Resources::sharing(Box::new(Masks(OsRandom::new())), &CODECS)
}

/// Where masking keys come from.
struct Masks(OsRandom);

impl Random for Masks {
    fn fill(&mut self, bytes: &mut [u8]) {
        #[cfg(feature = "testing")]
        if crate::testing::masks::fill(bytes) {
            return;
        }
        self.0.fill(bytes);
    }
}

/// Runs `f` with this thread's resources. `f` must not call foreign code, say the transport.
pub(super) fn with_resources<R>(f: impl FnOnce(&mut Resources) -> R) -> R {
    RESOURCES.with_borrow_mut(f)
}

/// The same for what may run while the thread ends and its resources are gone.
pub(super) fn with_last_resources(f: impl FnOnce(&mut Resources)) {
    let mut f = Some(f);
    let here = RESOURCES.try_with(|resources| {
        if let (Ok(mut resources), Some(f)) = (resources.try_borrow_mut(), f.take()) {
            f(&mut resources);
        }
    });
    if let (Err(_), Some(f)) = (here, f.take()) {
        f(&mut resources());
    }
}

/// Bytes that compression holds in this process, on the async face.
#[cfg(test)]
pub(super) fn codecs() -> &'static CodecPool {
    &CODECS
}

/// A read buffer of [`READ`] bytes.
#[inline]
pub(super) fn take_buffer() -> Box<[u8]> {
    SPARE.take().unwrap_or_else(take_kept)
}

#[inline(never)]
fn take_kept() -> Box<[u8]> {
    let kept = BUFFERS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| vec![0; READ].into_boxed_slice())
}

/// Takes a read buffer back.
#[inline]
pub(super) fn give_back(buffer: Box<[u8]>) {
    if let Some(before) = SPARE.replace(Some(buffer)) {
        keep(before);
    }
}

#[inline(never)]
fn keep(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < MAX_KEPT {
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_the_next_one_taken() {
        let first = take_buffer();
        let address = first.as_ptr();
        give_back(first);
        let second = take_buffer();
        assert_eq!(second.as_ptr(), address);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn what_a_connection_took_on_one_thread_it_gives_back_on_another() {
        use crate::testing::pair;
        use tidegate_proto::{Config, Deflate};

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let dedicated = Deflate::Dedicated {
            bits: 15,
            mem_level: 8,
        };
        let config = Config {
            deflate: dedicated.into(),
            ..Config::default()
        };
        let mut ends = runtime.block_on(async { (0..4).map(|_| pair(config.clone())).collect() });
        for round in 0..5 {
            let handle = runtime.handle().clone();
            let thread = std::thread::spawn(move || {
                let mut ends: Vec<(crate::WebSocket<_>, crate::WebSocket<_>)> = ends;
                handle.block_on(async {
                    for (client, server) in &mut ends {
                        let text = format!("round {round}, and then some more words; ").repeat(20);
                        client.send(text.as_str()).await.unwrap();
                        assert_eq!(server.recv().await.unwrap().as_text(), Some(&*text));
                        server.send(text.as_str()).await.unwrap();
                        assert_eq!(client.recv().await.unwrap().as_text(), Some(&*text));
                    }
                    assert!(codecs().kept_by_connections() > 1 << 20);
                });
                ends
            });
            ends = thread.join().unwrap();
            if round == 2 {
                ends.pop();
            }
        }
        drop(ends);
        assert_eq!(codecs().kept_by_connections(), 0);
        assert!(codecs().pooled_bytes() > 0, "they wait to be used again");
    }
}
