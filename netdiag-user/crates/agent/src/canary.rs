//! Packets that netdiag drops itself, in a network namespace of its own: nobody else's packets and
//! nobody's links are there. It has no name and belongs to one thread, so that it goes with the
//! process, however that ends.
//!
//! A packet to a port of the loopback device where nobody listens is freed as a lost one is. It carries
//! a mark by which every netdiag on the machine knows it and leaves it out of what it counts
//! ([`netdiag_common::config::CANARY_MARK`]).
use std::{net::SocketAddr, sync::mpsc, thread};

use anyhow::{Context, Result, anyhow};
use netdiag_common::config::CANARY_MARK;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

/// The loopback device is a namespace's first.
const LOOPBACK: u32 = 1;
/// Of the service that throws away what it gets (RFC 863), which nobody runs there.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

type Answer = oneshot::Sender<std::io::Result<()>>;

/// Who drops packets when asked. Its namespace is there as long as it is.
pub struct Canary {
    asks: mpsc::Sender<Answer>,
}

impl Canary {
    pub async fn new() -> Result<Self> {
        let (asks, asked) = mpsc::channel();
        let (ready, is_ready) = oneshot::channel();
        thread::Builder::new()
            .name("canary".into())
            .spawn(move || match socket() {
                Ok(socket) => {
                    let _ = ready.send(Ok(()));
                    answer(&socket, &asked);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .context("starting a thread")?;
        is_ready.await.context("the thread ended")??;
        Ok(Self { asks })
    }

    /// Comes back when the packet was sent, which is when it was dropped.
    pub async fn drop_one(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let gone = || anyhow!("its thread ended");
        self.asks.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.context("sending it")
    }
}

fn answer(socket: &Socket, asked: &mpsc::Receiver<Answer>) {
    while let Ok(answer) = asked.recv() {
        let sent = socket.send_to(&[0], &NOBODY.into());
        let _ = answer.send(sent.map(drop));
    }
}

/// In the new namespace, which this thread stays in.
fn socket() -> Result<Socket> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    raise_loopback().context("raising its loopback device")?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("opening a socket")?;
    socket
        .set_mark(CANARY_MARK)
        .context("marking its packets")?;
    Ok(socket)
}

fn raise_loopback() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
        handle.link().set(up).execute().await?;
        Ok(())
    })
}
