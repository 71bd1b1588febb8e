//! The four protocols that the listening node serves; ping and identify are the library's.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use sha2::{Digest, Sha256};

use crate::Result;

pub const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
pub const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");
pub const HALF: StreamProtocol = StreamProtocol::new("/half/1.0.0");
pub const RESET: StreamProtocol = StreamProtocol::new("/reset/1.0.0");

pub const CHUNK_BYTES: usize = 64 << 10;
const ECHO_BYTES: usize = 16 << 10; // what the muxer puts into a frame

/// Serves one stream.  A stream that is dropped without having been closed is reset.
pub async fn serve(mut stream: Stream, protocol: StreamProtocol) {
    let served = match protocol {
        p if p == ECHO => echo(&mut stream).await,
        p if p == PERF => perf(&mut stream).await,
        p if p == HALF => half(&mut stream).await,
        _ => {
            let _ = read_line(&mut stream).await;
            return;
        }
    };
    if served.is_ok() {
        let _ = stream.close().await;
    }
}

async fn echo(stream: &mut Stream) -> Result<()> {
    let mut buffer = vec![0; ECHO_BYTES];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
        stream.flush().await?;
    }
}

/// A big-endian count of bytes to send, then the upload up to its end, then those bytes.
async fn perf(stream: &mut Stream) -> Result<()> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    discard(stream).await?;
    send_zeros(stream, u64::from_be_bytes(head)).await
}

async fn half(stream: &mut Stream) -> Result<()> {
    let mut data = Vec::new();
    stream.read_to_end(&mut data).await?;
    stream.write_all(hex(&Sha256::digest(&data)).as_bytes()).await?;
    Ok(())
}

async fn read_line(stream: &mut Stream) -> Result<()> {
    let mut byte = [0];
    while byte[0] != b'\n' {
        stream.read_exact(&mut byte).await?;
    }
    Ok(())
}

pub async fn discard(stream: &mut (impl AsyncRead + Unpin)) -> Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            n => total += n as u64,
        }
    }
}

pub async fn send_zeros(stream: &mut (impl AsyncWrite + Unpin), mut bytes: u64) -> Result<()> {
    let buffer = vec![0; CHUNK_BYTES];
    while bytes > 0 {
        let n = bytes.min(CHUNK_BYTES as u64);
        stream.write_all(&buffer[..n as usize]).await?;
        bytes -= n;
    }
    Ok(stream.flush().await?)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
