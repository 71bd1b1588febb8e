//! A rust-libp2p peer for the interoperation tests.  Command line, protocols and answers: ../README.md.

mod cases;
mod load;
mod load_works;
mod node;
mod pace;
mod serve;
mod streams;

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use node::Node;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone)]
struct Options {
    key: String,
    security: String,
    host: String,
    signed_records: bool, // in identify: not the library's default, and a signature for each connection
}

struct Program {
    options: Options,
    listener: Node,
    kept: Mutex<Vec<Node>>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        key: "ed25519".into(),
        security: "noise".into(),
        host: "127.0.0.1".into(),
        signed_records: std::env::var_os("INTEROP_SIGNED_RECORDS").is_some(),
    };
    let mut args = std::env::args().skip(1);
    if args.next()? != "listen" {
        return None;
    }
    while let Some(name) = args.next() {
        match name.as_str() {
            "--key" => options.key = args.next()?,
            "--security" => options.security = args.next()?,
            "--host" => options.host = args.next()?,
            _ => return None,
        }
    }
    Some(options)
}

/// To the hard limit; returns the limit.
fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
    limit.rlim_cur
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(options) = options() else {
        eprintln!("usage: peer listen --key TYPE [--security LIST] [--host IP]");
        std::process::exit(2);
    };
    raise_descriptor_limit();
    let listener = Node::new(&options, true, node::PING_INTERVAL).await?;
    for address in &listener.addresses {
        println!("{address}/p2p/{}", listener.id);
    }
    println!("ready");

    let program = Arc::new(Program { options, listener, kept: Mutex::new(Vec::new()) });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let program = program.clone();
        tokio::spawn(async move {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [tag, case, args @ ..] = words.as_slice() else { return };
            let mut answer = match program.run(tag, case, args).await {
                Ok(mut found) => {
                    found["ok"] = true.into();
                    found
                }
                Err(error) => json!({"ok": false, "error": error.to_string()}),
            };
            answer["id"] = (*tag).into();
            answer["case"] = (*case).into();
            println!("{answer}");
        });
    }
    Ok(())
}
