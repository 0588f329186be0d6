//! How much memory an answer can make the client hold, whatever its text grows to when it is read.
#![cfg(feature = "nim")]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "nim_hostile/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;

use portolan::nim::{InputType, Message, Nim, NimError, RetryPolicy, Service};
use server::{Act, Hostile, answer, chunk};

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grow(by: usize) {
    let held = HELD.fetch_add(by, Ordering::Relaxed) + by;
    MOST.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if both were held for a moment, which they may be.
        grow(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Debug, Clone, Copy)]
enum Call {
    Embed,
    Rank,
    Chat,
    Stream,
    Models,
    Metadata,
}

impl Call {
    /// Most bytes of an answer that are read.
    fn cap(self) -> usize {
        match self {
            // Two vectors as long as any, and a frame.
            Self::Embed => 2 * 16_384 * 32 + (64 << 10),
            Self::Rank => 4 << 20,
            Self::Chat | Self::Stream => 16 << 20,
            Self::Models | Self::Metadata => 1 << 20,
        }
    }

    /// Most bytes that may be held: the text in a buffer that doubles, while it grows into the next
    /// one, and what is made of it.
    fn bound(self) -> usize {
        match self {
            Self::Chat | Self::Stream => 96 << 20,
            Self::Embed | Self::Rank | Self::Models | Self::Metadata => 48 << 20,
        }
    }

    async fn make(self, nim: &Nim) -> Result<(), NimError> {
        let messages = [Message::user("u")];
        match self {
            Self::Embed => nim.embedder("m").embed(&["a", "b"], InputType::Passage).await.map(drop),
            Self::Rank => nim.reranker("m").rank("q", &["a", "b"]).await.map(drop),
            Self::Chat => nim.chat("m").complete(&messages).await.map(drop),
            Self::Stream => nim.chat("m").stream(&messages).await?.finish().await.map(drop),
            Self::Models => nim.models(Service::Embedding).await.map(drop),
            Self::Metadata => nim.metadata(Service::Embedding).await.map(drop),
        }
    }
}

/// A document of as many bytes as the call reads, made of one beginning and one thing repeated.
fn filled(cap: usize, begin: &str, repeated: &str) -> Act {
    let times = (cap - begin.len()) / repeated.len();
    let body = format!("{begin}{}", repeated.repeat(times));
    Act::Answer(answer(200, "content-type: application/json\r\n", body))
}

/// One text, where a list should be.
fn text(cap: usize, begin: &str) -> Act {
    let body = format!("{begin}{}\"", "a".repeat(cap - begin.len() - 1));
    Act::Answer(answer(200, "content-type: application/json\r\n", body))
}

/// The only test here: another one beside it would be counted too.
#[tokio::test]
async fn no_answer_makes_a_client_hold_more_than_is_allowed() {
    let json = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    let events = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    for call in [Call::Embed, Call::Rank, Call::Chat, Call::Stream, Call::Models, Call::Metadata] {
        let cap = call.cap();
        let word = b"data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n".repeat(99);
        let acts = [
            ("numbers", filled(cap, "[", "0,")),
            ("numbers in a field", filled(cap, "{\"x\":[", "0,")),
            ("empty lists", filled(cap, "{\"x\":[", "[],")),
            ("empty texts", filled(cap, "{\"error\":[", "\"\",")),
            ("fields", filled(cap, "{\"choices\":[{", "\"\":0,")),
            ("data", filled(cap, "{\"data\":[", "{\"id\":\"\"},")),
            ("items", filled(cap, "{\"data\":[", "{\"index\":0,\"embedding\":[]},")),
            ("one vector", filled(cap, "{\"data\":[{\"index\":0,\"embedding\":[", "0,")),
            ("rankings", filled(cap, "{\"rankings\":[", "{\"index\":0,\"logit\":0},")),
            ("a text for a list", text(cap, "{\"rankings\":\"")),
            ("escapes for a list", text(cap, "{\"data\":\"\\\\")),
            ("an endless body", Act::Endless(json.to_vec(), vec![b' '; 64 << 10])),
            ("endless words", Act::Endless(events.to_vec(), word)),
            ("an endless line", Act::Endless(events.to_vec(), b"data: 0,0,0,0,".repeat(999))),
            (
                "an endless refusal",
                Act::Endless(
                    b"HTTP/1.1 400 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
                    chunk([b'x'; 64 << 10]),
                ),
            ),
        ];
        for (name, act) in acts {
            let server = Hostile::start(vec![act]).await;
            let builder = Nim::builder().base_url(format!("http://127.0.0.1:{}", server.port));
            let builder = builder.api_key("nvapi-canary-0123456789-0123456789-0123456789");
            let nim = builder.retry(RetryPolicy::new().tries(1)).build().expect("a client");
            let before = HELD.load(Ordering::Relaxed);
            MOST.store(before, Ordering::Relaxed);
            let end = call.make(&nim).await;
            let most = MOST.load(Ordering::Relaxed).saturating_sub(before);
            let bound = call.bound();
            assert!(most < bound, "{name}, {call:?}: {most} bytes held, {cap} may come; {end:?}");
            assert!(end.is_err(), "{name}, {call:?}");
        }
    }
}
