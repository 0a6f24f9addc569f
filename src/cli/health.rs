//! `callscope health`: the health check for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::ServerConfig;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub struct HealthArgs {
    #[command(flatten)]
    server: ServerConfig,
}

pub fn run(args: &HealthArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let address = reachable(args.server.listen);
        let response = tokio::time::timeout(TIMEOUT, read_status(address)).await;
        let status = response.context("the server does not answer within 5 s")??;
        ensure!(status.contains(" 200 "), "the server is not ready: {status}");
        Ok(())
    })
}

/// The status line of GET /readyz.
async fn read_status(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("no server listens on {address}"))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![];
    stream.take(4096).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// A server that listens on all addresses is checked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
