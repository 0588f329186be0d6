//! Encrypted connections that end without the farewell of TLS: what came so far may be cut, however
//! whole it looks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use portolan::nim::{CallOptions, Nim, NimError, RetryPolicy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::trial::{ALL, Call, KEY};

const CERT: &[u8] = include_bytes!("../fixtures/tls/cert.pem");
const KEY_PEM: &[u8] = include_bytes!("../fixtures/tls/key.pem");

fn config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(CERT).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY_PEM).expect("a key");
    let provider = rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.expect("a configuration"))
}

/// Answers that many connections with these bytes, then closes them, with a farewell or without.
fn serve(connections: usize, bytes: Vec<u8>, farewell: bool) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let config = config();
    let thread = std::thread::spawn(move || {
        let mut spoken = 0;
        for socket in listener.incoming().take(connections) {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, socket.expect("a socket"));
            // The request is short: it comes in one piece or two, and its end does not matter.
            let mut request = [0; 16 << 10];
            spoken += usize::from(stream.read(&mut request).is_ok_and(|read| read > 0));
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            if farewell {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
            let _ = stream.sock.shutdown(std::net::Shutdown::Write);
            // Until the client has closed: a reset could overtake the bytes.
            while stream.sock.read(&mut request).is_ok_and(|read| read > 0) {}
        }
        spoken
    });
    (port, thread)
}

/// A right answer that ends with its connection.
fn unmeasured(call: Call) -> Vec<u8> {
    let good = String::from_utf8(call.good()).expect("text");
    let lines: Vec<&str> =
        good.split("\r\n").filter(|line| !line.starts_with("content-length")).collect();
    lines.join("\r\n").into_bytes()
}

async fn make(call: Call, port: u16) -> Result<(), NimError> {
    make_at(call, &format!("https://127.0.0.1:{port}"), true).await
}

async fn make_at(call: Call, url: &str, is_trusted: bool) -> Result<(), NimError> {
    let mut builder = Nim::builder().base_url(url).api_key(KEY).retry(RetryPolicy::new().tries(1));
    if is_trusted {
        builder = builder.add_root_certificates(CERT);
    }
    let nim = builder.build().expect("a client");
    call.make(&nim, CallOptions::new().timeout(std::time::Duration::from_secs(45))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_or_of_another_host_gets_no_request() {
    for call in ALL {
        for (host, is_trusted) in [("127.0.0.1", false), ("localhost", true)] {
            let (port, thread) = serve(1, call.good(), true);
            let error = make_at(call, &format!("https://{host}:{port}"), is_trusted).await;
            let error = error.expect_err("a stranger");
            assert_eq!(error.kind(), "tls", "{host}, {call:?}: {error:?}");
            assert!(!error.is_retryable(), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("canary"));
            assert_eq!(thread.join().expect("the server"), 0, "a request was read");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_body_that_is_cut_off_is_no_answer() {
    for call in ALL {
        let whole = unmeasured(call);
        // It is right, and read as such, when its end is told.
        let (port, thread) = serve(1, whole.clone(), true);
        make(call, port).await.expect("a whole answer");
        assert_eq!(thread.join().expect("the server"), 1);
        let half = whole[..whole.len() - 9].to_vec();
        let measured = call.good();
        let short = measured[..measured.len() - 9].to_vec();
        for (name, bytes) in [("all", whole), ("without its end", half), ("measured", short)] {
            // The end mark of a stream tells its end as well.
            if call == Call::Stream && name == "all" {
                continue;
            }
            let (port, thread) = serve(1, bytes, false);
            let error = make(call, port).await.expect_err("a cut answer");
            let kind = error.kind();
            assert!(["disconnected", "tls"].contains(&kind), "{name}, {call:?}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("canary"));
            assert_eq!(thread.join().expect("the server"), 1);
        }
    }
}
