//! Misbehaviors of streams of events.

use crate::server::{Act, chunk};
use crate::trial::{Call, KEY, Trial, run};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const WORD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"good\"}}]}\n\n";
const INVALID: &[&str] = &["invalid_response"];

fn stream(body: impl AsRef<[u8]>) -> Act {
    Act::Close([HEAD.as_bytes(), body.as_ref()].concat())
}

fn call_delta(index: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{index},\"id\":\"i\",\
         \"function\":{{\"name\":\"f\",\"arguments\":\"\"}}}}]}}}}]}}\n\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_none_are_typed() {
    let many: String = (0..200).map(|at| call_delta(&at.to_string())).collect();
    let cases: Vec<(&str, Act, &'static [&'static str])> = vec![
        ("an empty stream", stream(""), INVALID),
        ("no end mark", stream(WORD), INVALID),
        ("an end within an event", stream(format!("{WORD}data: {{\"cho")), INVALID),
        (
            "an end within a character",
            stream([WORD.as_bytes(), b"data: {\"a\":\"\xc3"].concat()),
            INVALID,
        ),
        (
            "invalid utf-8",
            stream([WORD.as_bytes(), b"data: {\"a\":\"\xff\"}\n\n"].concat()),
            INVALID,
        ),
        ("an event that is no json", stream(format!("{WORD}data: <html>\n\n")), INVALID),
        ("an event that is a list", stream(format!("{WORD}data: []\n\n")), INVALID),
        (
            "an event nested 10,000 deep",
            stream(format!("{WORD}data: {}\n\n", "[".repeat(10_000))),
            INVALID,
        ),
        ("a negative index", stream(call_delta("-1")), INVALID),
        ("an index that is no number", stream(call_delta("\"x\"")), INVALID),
        ("an index beyond 64 bits", stream(call_delta("1e30")), INVALID),
        ("200 tool calls", stream(many), INVALID),
        (
            "a nameless tool call",
            stream(
                "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n\
                 data: [DONE]\n\n",
            ),
            INVALID,
        ),
        (
            "an error with the key",
            stream(format!(
                "{WORD}data: {{\"error\":{{\"message\":\"{KEY}\",\"type\":\"{KEY}\"}}}}\n\n"
            )),
            &["answer_failed"],
        ),
        (
            "an error event",
            stream(format!("{WORD}event: error\ndata: {{\"error\":\"{KEY}\"}}\n\n")),
            &["answer_failed"],
        ),
        (
            "a reset after the first event",
            Act::Reset(format!("{}ffff\r\n{WORD}", CHUNKED).into_bytes()),
            &["disconnected"],
        ),
        (
            "a close within a chunk",
            Act::Close(format!("{}ffff\r\n{WORD}", CHUNKED).into_bytes()),
            &["disconnected"],
        ),
        (
            "a chunk size that is none",
            Act::Close([CHUNKED.as_bytes(), &chunk(WORD), b"zz\r\n"].concat()),
            &["disconnected"],
        ),
    ];
    let trial = |(name, act, kinds)| Trial::new(name, Call::Stream, vec![act], kinds);
    run(cases.into_iter().map(trial).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_end_are_cut() {
    let large: &[&str] = &["response_too_large"];
    let head = CHUNKED.as_bytes().to_vec();
    let begun = [CHUNKED.as_bytes(), &chunk(WORD)].concat();
    let line = vec![b'x'; 64 << 10];
    let comment = [b": ".as_slice(), &[b'y'; 60_000], b"\n"].concat();
    let held = "data: held back\n".repeat(4_000);
    let endless = |name: &str, head: &Vec<u8>, body: &[u8], kinds| {
        Trial::new(name, Call::Stream, vec![Act::Endless(head.clone(), chunk(body))], kinds)
    };
    run(vec![
        endless("an endless line", &head, &line, INVALID),
        endless("an endless line after an event", &begun, &line, INVALID),
        endless("an endless event", &head, held.as_bytes(), INVALID),
        endless("endless comments", &head, &comment, large),
        endless("endless comments after an event", &begun, &comment, large),
        endless("endless words", &head, WORD.repeat(1_000).as_bytes(), large),
        endless(
            "endless objects that say nothing",
            &head,
            "data: {}\n\n".repeat(5_000).as_bytes(),
            large,
        ),
    ])
    .await;
    let drip = |name: &str, head: &Vec<u8>| {
        Trial::new(name, Call::Stream, vec![Act::Drip(head.clone(), chunk(":\n"))], &["timeout"])
    };
    let drips =
        [drip("comments for ever", &head), drip("comments for ever after an event", &begun)];
    run(drips.into_iter().map(Trial::impatient).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_streams_that_can_be_read_are_read() {
    let done = "data: [DONE]\n\n";
    let cases = [
        ("carriage returns", format!("{WORD}{done}").replace('\n', "\r")),
        ("both line ends", format!("{WORD}{done}").replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{WORD}{done}")),
        ("no blank after the colon", format!("{WORD}{done}").replace("data: ", "data:")),
        ("comments and other fields", format!(":\nid: 7\nretry: 0\nevent: x\n{WORD}foo\n\n{done}")),
        (
            "chunks that say nothing",
            format!("data: {{}}\n\n{WORD}data: {{\"choices\":null}}\n\n{done}"),
        ),
        ("no line end after the end mark", format!("{WORD}data: [DONE]")),
        ("more after the end mark", format!("{WORD}{done}data: <html>\n\n")),
        ("an index without end", format!("{WORD}{}{done}", call_delta("18446744073709551615"))),
        ("null for an error", format!("{WORD}data: {{\"error\":null,\"choices\":[]}}\n\n{done}")),
    ];
    let trial = |(name, body): (&str, String)| {
        Trial::new(name, Call::Stream, vec![stream(body)], &["good"])
    };
    run(cases.into_iter().map(trial).collect()).await;
}
