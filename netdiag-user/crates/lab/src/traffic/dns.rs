//! A name server that knows no name (RFC 1035), and who asks it.
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use super::udp;

const HEADER: usize = 12;
const NXDOMAIN: u8 = 3;

/// `no-such-service.default.svc.cluster.local`, type A, class IN.
const QUESTION: &[u8] = b"\x0fno-such-service\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01";

pub fn serve(socket: &UdpSocket, stop: &AtomicBool) {
    udp::answer(socket, stop, nxdomain);
}

pub fn ask(server: SocketAddr) -> io::Result<()> {
    // Recursion desired, one question; the id need not be secret here.
    let header = [0x4e, 0x44, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let answer = udp::exchange(server, &[&header, QUESTION].concat())?;
    match answer.get(3).map(|flags| flags & 0x0f) {
        Some(NXDOMAIN) => Ok(()),
        code => Err(io::Error::other(format!(
            "the name server answered {code:?}"
        ))),
    }
}

/// Asks for a name's address of the server's family; any answer will do.
pub fn resolve(server: SocketAddr, name: &str) -> io::Result<()> {
    udp::exchange(server, &query(server, name)).map(drop)
}

/// The name's address, of the server's family.
pub fn lookup(socket: &UdpSocket, server: SocketAddr, name: &str) -> io::Result<IpAddr> {
    let query = query(server, name);
    socket.send_to(&query, server)?;
    let mut buffer = [0; 512];
    let (bytes, _) = socket.recv_from(&mut buffer)?;
    let answer = buffer[..bytes].get(query.len()..).unwrap_or_default();
    address(answer).ok_or_else(|| io::Error::other(format!("{name} has no address")))
}

/// The data of the first record: behind its name (a pointer), type, class, age and length.
fn address(record: &[u8]) -> Option<IpAddr> {
    let data = record.get(12..)?;
    match record.get(10..12)? {
        [0, 4] => Some(<[u8; 4]>::try_from(data.get(..4)?).ok()?.into()),
        [0, 16] => Some(<[u8; 16]>::try_from(data.get(..16)?).ok()?.into()),
        _ => None,
    }
}

/// A question for the address, of the family of the server.
pub fn query(server: SocketAddr, name: &str) -> Vec<u8> {
    let kind = if server.is_ipv4() { 1 } else { 28 };
    // Lookups that go on side by side are told apart by the id and the port.
    let [high, low] = ID.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    query
}

static ID: AtomicU16 = AtomicU16::new(1);

/// The question again, marked as answered: this name does not exist.
fn nxdomain(question: &[u8]) -> Option<Vec<u8>> {
    if question.len() < HEADER {
        return None;
    }
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | NXDOMAIN;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_the_question() {
        let question = [&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], QUESTION].concat();
        let answer = nxdomain(&question).expect("an answer");
        assert_eq!(
            (&answer[..4], &answer[HEADER..]),
            (&[9, 9, 0x81, 0x83][..], QUESTION)
        );
        assert!(nxdomain(&question[..11]).is_none());
    }
}
