//! A message far larger than memory, each way over a real socket, through `WebSocket` itself. A process of its own, so
//! that what it holds can be read from outside the code.

use std::time::Duration;
use tidegate::tidegate_proto::MessageKind;
use tidegate::{CloseCode, WebSocket, accept, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Most bytes that the process may ever have had in memory.
const MOST: u64 = 64 << 20;
/// It is a deadline, not a measure.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// The octet at `position` of the message: any that is lost, doubled or misplaced shows.
fn octet(position: u64) -> u8 {
    (position ^ (position >> 8) ^ (position >> 16) ^ (position >> 27)) as u8
}

fn fill(buffer: &mut [u8], position: u64) {
    for (i, place) in buffer.iter_mut().enumerate() {
        *place = octet(position + i as u64);
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, len: u64) {
    let mut message = ws.message_writer(MessageKind::Binary).await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    while position < len {
        let n = buffer.len().min((len - position) as usize);
        fill(&mut buffer[..n], position);
        message.write_all(&buffer[..n]).await.unwrap();
        position += n as u64;
    }
    message.finish().await.unwrap();
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, len: u64) {
    let mut message = ws.next_message().await.unwrap();
    let (mut buffer, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut position = 0;
    loop {
        let n = message.read(&mut buffer).await.unwrap();
        if n == 0 {
            break;
        }
        fill(&mut expected[..n], position);
        assert!(buffer[..n] == expected[..n], "wrong after {position}");
        position += n as u64;
    }
    assert_eq!(position, len);
}

/// `len` bytes to the server and `len` back.
async fn each_way(len: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut ws = accept(tcp).await.unwrap();
        read(&mut ws, len).await;
        write(&mut ws, len).await;
        assert!(ws.recv().await.unwrap_err().clean);
    });
    let mut ws = connect(&url).await.unwrap();
    write(&mut ws, len).await;
    read(&mut ws, len).await;
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);
    server.await.unwrap();
}

/// The most this process ever had in memory, in bytes; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

async fn check(len: u64) {
    timeout(DEADLINE, each_way(len)).await.unwrap();
    if let Some(peak) = peak() {
        println!("{len} bytes each way: at most {} KiB in memory", peak >> 10);
        assert!(peak < MOST, "{} MiB", peak >> 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_256_mib_goes_each_way_in_a_few_buffers() {
    check(256 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes: cargo xtask test --full runs it"]
async fn a_message_of_8_gib_goes_each_way_in_a_few_buffers() {
    check(8 << 30).await;
}
