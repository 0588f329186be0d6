//! Misbehaviors of connections, of HTTP and of TLS.

use std::time::{Duration, SystemTime};

use crate::server::{Act, Hostile, answer, chunk};
use crate::trial::{ALL, KEY, Trial, run};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"data\":[";

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Each misbehavior against each call.
fn all(cases: Vec<(&'static str, Act, &'static [&'static str])>) -> Vec<Trial> {
    let with = |call| {
        cases.iter().map(move |(name, act, kinds)| Trial::new(name, call, vec![act.clone()], kinds))
    };
    ALL.into_iter().flat_map(with).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_are_disconnections() {
    let broken: &[&str] = &["disconnected"];
    run(all(vec![
        ("close before the answer", Act::Close(vec![]), broken),
        ("reset before the answer", Act::Reset(vec![]), broken),
        ("close within the head", Act::Close(bytes("HTTP/1.1 200 OK\r\nconte")), broken),
        ("close within the body", Act::Close(bytes(LONG)), broken),
        ("reset within the body", Act::Reset(bytes(LONG)), broken),
        ("close within a chunk", Act::Close(bytes(&format!("{CHUNKED}ff\r\n{{"))), broken),
        ("close between chunks", Act::Close(bytes(&format!("{CHUNKED}1\r\n{{\r\n"))), broken),
    ]))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_never_finish_meet_a_timeout() {
    let late: &[&str] = &["timeout"];
    let interim = bytes("HTTP/1.1 102 Processing\r\n\r\n");
    let trials = all(vec![
        ("silence", Act::Hang(vec![]), late),
        ("silence within the head", Act::Hang(bytes("HTTP/1.1 200 OK\r\nconte")), late),
        ("silence within the body", Act::Hang(bytes(LONG)), late),
        ("a head byte by byte", Act::Drip(bytes("HTTP/1.1 200 OK\r\nx: "), bytes("y")), late),
        ("a body byte by byte", Act::Drip(bytes(CHUNKED), chunk(" ")), late),
        ("interim answers for ever", Act::Drip(vec![], interim), late),
    ]);
    run(trials.into_iter().map(Trial::impatient).collect()).await;
    // The same, ended by the deadline of the call long before a try has had its time.
    let late: &[&str] = &["deadline_exceeded"];
    let trials = all(vec![
        ("silence", Act::Hang(vec![]), late),
        ("silence within the body", Act::Hang(bytes(LONG)), late),
        ("a head byte by byte", Act::Drip(bytes("HTTP/1.1 200 OK\r\nx: "), bytes("y")), late),
        ("a body byte by byte", Act::Drip(bytes(CHUNKED), chunk(" ")), late),
    ]);
    run(trials.into_iter().map(Trial::hurried).collect()).await;

    let late: &[&str] = &["timeout"];
    let accepted = answer(202, "nvcf-reqid: id-1\r\n", "{}");
    let forever = all(vec![("202 for ever", Act::Answer(accepted), late)]);
    let polled = forever.into_iter().map(|trial| {
        let trial = trial.impatient();
        trial.set(|builder, port| builder.poll_url(format!("http://127.0.0.1:{port}/poll")))
    });
    run(polled.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_end_are_cut_at_the_cap() {
    let large: &[&str] = &["response_too_large"];
    let broken: &[&str] = &["disconnected"];
    let filler = vec![b' '; 64 << 10];
    let claim =
        |length: &str| bytes(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
    let line = [b"x-filler: ".as_slice(), &[b'y'; 1_000], b"\r\n"].concat();
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let endless = format!("{json}transfer-encoding: chunked\r\n\r\n");
    let bare = format!("{json}\r\n");
    run(all(vec![
        ("an endless body in chunks", Act::Endless(bytes(&endless), chunk(&filler)), large),
        ("an endless body without length", Act::Endless(bytes(&bare), filler.clone()), large),
        ("endless headers", Act::Endless(bytes("HTTP/1.1 200 OK\r\n"), line), broken),
        ("one endless header", Act::Endless(bytes("HTTP/1.1 200 OK\r\nx: "), filler), broken),
        (
            "an endless refusal",
            Act::Endless(bytes("HTTP/1.1 400 X\r\n\r\n"), vec![b'x'; 64 << 10]),
            &["bad_request"],
        ),
    ]))
    .await;
    let claims =
        all(vec![("a huge claimed length", Act::Hang(claim("9223372036854775807")), large)]);
    // A stream has no length that could be refused before it is read.
    let claims = claims.into_iter().filter(|trial| trial.call != crate::trial::Call::Stream);
    run(claims.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_http_is_a_typed_error() {
    let broken: &[&str] = &["disconnected"];
    let ok = "HTTP/1.1 200 OK\r\n";
    run(all(vec![
        ("another protocol", Act::Close(bytes("SSH-2.0-OpenSSH_9.9\r\n\r\n")), broken),
        ("text without a head", Act::Close(bytes("{\"data\":[]}\r\n\r\n")), broken),
        (
            "two lengths",
            Act::Close(bytes(&format!("{ok}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"))),
            broken,
        ),
        (
            "a negative length",
            Act::Close(bytes(&format!("{ok}content-length: -1\r\n\r\n{{}}"))),
            broken,
        ),
        (
            "a length beyond 64 bits",
            Act::Close(bytes(&format!("{ok}content-length: 99999999999999999999\r\n\r\n{{}}"))),
            broken,
        ),
        (
            "a chunk size that is none",
            Act::Close(bytes(&format!("{CHUNKED}zz\r\n{{}}\r\n"))),
            broken,
        ),
        (
            "a chunk size beyond 64 bits",
            Act::Close(bytes(&format!("{CHUNKED}fffffffffffffffff\r\n{{}}\r\n"))),
            broken,
        ),
        ("a header with a NUL", Act::Close(bytes(&format!("{ok}x: a\0b\r\n\r\n{{}}"))), broken),
        ("a status of two digits", Act::Close(bytes("HTTP/1.1 20 OK\r\n\r\n{}")), broken),
    ]))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_that_are_no_answer_are_typed() {
    let odd: &[&str] = &["unexpected_status"];
    let other = Hostile::start(vec![Act::Answer(answer(200, "", "{}"))]).await;
    let mut cases = vec![
        ("204", Act::Answer(bytes("HTTP/1.1 204 X\r\n\r\n")), odd),
        ("206", Act::Answer(answer(206, "", "{}")), odd),
        ("304", Act::Answer(bytes("HTTP/1.1 304 X\r\n\r\n")), odd),
        ("999", Act::Answer(answer(999, "", "{}")), odd),
        ("418", Act::Answer(answer(418, "", "{}")), &["bad_request"][..]),
        ("501", Act::Answer(answer(501, "", "{}")), &["server"][..]),
    ];
    for status in [301, 302, 303, 307, 308] {
        let headers = format!("location: http://127.0.0.1:{}/{KEY}\r\n", other.port);
        cases.push(("a redirect to another host", Act::Answer(answer(status, &headers, "")), odd));
    }
    run(all(cases)).await;
    assert_eq!(other.requests(), 0);

    let accepted = |headers: &str| Act::Answer(answer(202, headers, "{}"));
    let invalid: &[&str] = &["invalid_response"];
    let trials = all(vec![
        ("202 without an id", accepted(""), invalid),
        ("202 with an id that leaves its path", accepted("nvcf-reqid: ../../x\r\n"), invalid),
        (
            "202 with an endless id",
            accepted(&format!("nvcf-reqid: {}\r\n", "a".repeat(999))),
            invalid,
        ),
    ]);
    let set = |builder: portolan::nim::NimBuilder, port: u16| {
        builder.poll_url(format!("http://127.0.0.1:{port}/poll"))
    };
    run(trials.into_iter().map(|trial| trial.set(set)).collect()).await;
    run(all(vec![("202 where nobody can ask", accepted("nvcf-reqid: id\r\n"), invalid)])).await;
}

/// Overloaded until two to three seconds from now.
fn soon() -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    answer(503, &format!("retry-after: {date}\r\n"), "{}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limits_and_overload_pass_or_are_told() {
    let busy = |status, headers: &str| Act::Answer(answer(status, headers, "{}"));
    let mut trials = Vec::new();
    for call in ALL {
        let good = || Act::Answer(call.good());
        for (name, act) in [
            ("429 with seconds", busy(429, "retry-after: 0\r\n")),
            ("429 with a date", busy(429, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n")),
            ("429 with a word", busy(429, "retry-after: soon\r\n")),
            ("503 with a negative wait", busy(503, "retry-after: -5\r\n")),
            ("503 with a broken number", busy(503, "retry-after: 1e9\r\n")),
            ("a reset, then an answer", Act::Reset(vec![])),
        ] {
            trials.push(Trial::new(name, call, vec![act, good()], &["good"]));
        }
        // Waits that are honored: the back-off of these clients is none.
        let second = Duration::from_secs(1);
        let wait = Trial::new(
            "429 for a second",
            call,
            vec![busy(429, "retry-after: 1\r\n"), good()],
            &["good"],
        );
        trials.push(wait.paused(second, second));
        let until = Trial::new("503 until a date", call, vec![Act::Made(soon), good()], &["good"]);
        trials.push(until.paused(Duration::from_millis(1), 3 * second));
        for (name, act, kinds) in [
            ("429 for an hour", busy(429, "retry-after: 3600\r\n"), &["rate_limited"]),
            (
                "429 until a far date",
                busy(429, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n"),
                &["rate_limited"],
            ),
            (
                "429 beyond 64 bits",
                busy(429, "retry-after: 99999999999999999999\r\n"),
                &["rate_limited"],
            ),
            ("429 for ever", busy(429, ""), &["rate_limited"]),
            ("503 for ever", busy(503, ""), &["server"]),
        ] {
            trials.push(Trial::new(name, call, vec![act], kinds));
        }
    }
    run(trials).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_encryption_and_nobody_there_are_typed() {
    // A handshake record that promises 74 bytes, and an alert.
    let hello = b"\x16\x03\x03\x00\x4a\x02\x00\x00\x46\x03\x03abc".to_vec();
    let alert = b"\x15\x03\x03\x00\x02\x02\x28".to_vec();
    let kinds: &[&str] = &["tls", "connect", "disconnected"];
    let trials = all(vec![
        ("a truncated handshake", Act::Close(hello.clone()), kinds),
        ("a handshake that is reset", Act::Reset(hello), kinds),
        ("an alert", Act::Close(alert), kinds),
        ("no encryption", Act::Close(answer(200, "", "{}")), kinds),
    ]);
    let set = |builder: portolan::nim::NimBuilder, port: u16| {
        builder.base_url(format!("https://127.0.0.1:{port}"))
    };
    run(trials.into_iter().map(|trial| trial.set(set)).collect()).await;

    let silent = all(vec![("a handshake that hangs", Act::Hang(vec![]), &["timeout", "connect"])]);
    let patient = silent.into_iter().map(|trial| {
        trial.impatient().set(|builder, port| {
            let builder = builder.base_url(format!("https://127.0.0.1:{port}"));
            builder.connect_timeout(Duration::from_millis(300))
        })
    });
    run(patient.collect()).await;

    let nobody = all(vec![("nobody there", Act::Hang(vec![]), &["connect"])]);
    // Port 1 of this machine: nothing listens there.
    let set = |builder: portolan::nim::NimBuilder, _| builder.base_url("http://127.0.0.1:1");
    run(nobody.into_iter().map(|trial| trial.set(set)).collect()).await;
}
