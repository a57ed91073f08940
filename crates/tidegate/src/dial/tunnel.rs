//! A tunnel through an HTTP proxy, over a connection to it that is open already; what goes through the tunnel
//! is not its matter.

use super::deadline::Deadline;
use super::failed;
use super::proxy::Address;
use crate::client::{ConnectError, Stage, read_refusal};
use std::io;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::client::Refused;
use tidegate_proto::handshake::tunnel::{Answer, Tunnel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Asks the proxy at the other end of `io` for a tunnel to `host:port`.
///
/// # Errors
/// [`ConnectError::ProxyRefused`] carries its answer; the others have [`Stage::Proxy`].
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    proxy: &Address,
    host: &str,
    port: u16,
    limits: &HeadLimits,
    deadline: &Deadline,
) -> Result<(), ConnectError> {
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let authorization = proxy.authorization.as_deref();
    let headers: Vec<(&str, &str)> = authorization
        .map(|value| ("Proxy-Authorization", value))
        .into_iter()
        .collect();
    let tunnel = Tunnel::new(&authority, &headers)?;
    let request = tunnel.request().to_vec();
    let answering = exchange(io, tunnel, limits);
    let Some((refused, body)) = deadline.within(Stage::Proxy, answering).await?? else {
        return Ok(());
    };
    let until = deadline.of(Stage::Proxy);
    let refused = read_refusal(io, request, refused, body, until).await;
    Err(ConnectError::ProxyRefused(Box::new(refused)))
}

/// The refusal and what came behind its head; `None` when the tunnel is open.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    mut tunnel: Tunnel,
    limits: &HeadLimits,
) -> Result<Option<(Refused, Vec<u8>)>, ConnectError> {
    let failed = failed(Stage::Proxy);
    io.write_all(tunnel.request()).await.map_err(&failed)?;
    io.flush().await.map_err(&failed)?;
    let mut bytes = Vec::with_capacity(1 << 9);
    loop {
        if io.read_buf(&mut bytes).await.map_err(&failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match tunnel
            .parse_response(&bytes, limits)
            .map_err(ConnectError::ProxyAnswer)?
        {
            Answer::Incomplete => {}
            Answer::Open { head_length } if head_length == bytes.len() => return Ok(None),
            // Neither TLS nor HTTP servers speak first: somebody else is at the other end.
            Answer::Open { .. } => {
                let text = "octets came through the tunnel before anything was asked";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            Answer::Refused(refused) => {
                let body = bytes.split_off(refused.body_start);
                return Ok(Some((refused, body)));
            }
        }
    }
}
