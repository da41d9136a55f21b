//! Whether a question has an answer, and why not where it has none: that nothing was found is
//! another thing than that nobody could look.
use super::{Gathered, Piece, Want};
use crate::control::NO_ETCD;

/// What gRPC says where a socket is somebody else's: docker's containerd has no CRI.
const NO_CRI: &str = "unknown service";

/// What came of a want so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was found out.
    Known,
    /// There is nothing on this node that could be asked.
    Absent,
    /// It could not be found out.
    Refused(String),
    /// It was asked for, and not answered yet.
    Outstanding,
    /// Nobody asked, as far as is known.
    Unasked,
}

impl Gathered {
    /// What came of that want.
    pub fn answer(&self, want: &Want) -> Answer {
        match self.pieces.iter().find(|(asked, _)| asked == want) {
            None if self.open.contains(want) => Answer::Outstanding,
            None => Answer::Unasked,
            Some((Want::Etcd, Err(why))) if why == NO_ETCD => Answer::Absent,
            Some((_, Err(why))) => Answer::Refused(why.clone()),
            Some((_, Ok(piece))) => piece.refusal().map_or(Answer::Known, Answer::Refused),
        }
    }

    /// Whether what is known of a want would be known no more with this.
    pub fn would_lose(&self, want: &Want, piece: &Result<Piece, String>) -> bool {
        let refused = piece.as_ref().map_or(true, |it| it.refusal().is_some());
        refused && self.answer(want) == Answer::Known
    }
}

impl Piece {
    /// Why it says nothing, where all that were asked are there and none of them answers.
    fn refusal(&self) -> Option<String> {
        let told = |(who, why): (String, &str)| format!("{who}: {why}");
        match self.found() {
            // What one member tells of alarms holds for all of them.
            Self::Etcd(members) if members.iter().all(|member| member.answer.is_err()) => {
                members.first()?.failure().map(told)
            }
            // Who gives pods no networks has no runtime that has to answer.
            Self::Runtime(runtime) if !runtime.networks.is_empty() => {
                let refusal = runtime.refusal();
                refusal.filter(|(_, why)| !why.contains(NO_CRI)).map(told)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{EtcdMember, EtcdStatus},
        runtime::{Cri, Network, Runtime},
    };

    fn answer(want: Want, piece: Result<Piece, String>) -> Answer {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.answer(&want), Answer::Unasked);
        gathered.ask([&want, &want]);
        assert_eq!(gathered.answer(&want), Answer::Outstanding);
        gathered.insert(want.clone(), piece);
        gathered.ask([&want]);
        assert!(gathered.open.is_empty());
        gathered.answer(&want)
    }

    #[test]
    fn nothing_there_is_no_refusal() {
        let refused = |why: &str| Answer::Refused(why.to_owned());
        let error = |why: &str| Err(why.to_owned());
        assert_eq!(answer(Want::Etcd, error(NO_ETCD)), Answer::Absent);
        assert_eq!(answer(Want::Ipam, error(NO_ETCD)), refused(NO_ETCD));
        assert_eq!(answer(Want::Qdiscs, error("x")), refused("x"));
        let found = Ok(Piece::Qdiscs(Vec::new()));
        assert_eq!(answer(Want::Qdiscs, found), Answer::Known);
        let runs = Ok(Piece::Runtime(Runtime::default()));
        assert_eq!(answer(Want::Runtime, runs), Answer::Known);
    }

    #[test]
    fn a_daemon_that_is_there_and_says_nothing_refuses() {
        let member = |name: &str, answer| EtcdMember {
            endpoint: name.into(),
            credentials: Vec::new(),
            answer,
        };
        let silent = || member("https://[::1]:2379", Err("no answer within 2 s".into()));
        let of = |members| answer(Want::Etcd, Ok(Piece::Etcd(members)));
        let why = "etcd at https://[::1]:2379: no answer within 2 s";
        assert_eq!(of(vec![silent()]), Answer::Refused(why.into()));
        let speaks = member("https://192.0.2.1:2379", Ok(EtcdStatus::default()));
        assert_eq!(of(vec![silent(), speaks]), Answer::Known);
        let cri = |said, networks| {
            let runtime = Runtime {
                cri: Some(("/run/x.sock".into(), said)),
                networks,
                ..Runtime::default()
            };
            answer(Want::Runtime, Ok(Piece::Runtime(runtime)))
        };
        let network = || vec![Network::default()];
        let error = |why: &str| Err(why.to_owned());
        assert_eq!(cri(Ok(Cri::default()), network()), Answer::Known);
        let why = "the container runtime at /run/x.sock: refused";
        let refused = cri(error("refused"), network());
        assert_eq!(refused, Answer::Refused(why.into()));
        assert_eq!(cri(error("refused"), Vec::new()), Answer::Known, "no pods");
        let docker = error("Status: unknown service runtime.v1.RuntimeService");
        assert_eq!(cri(docker, network()), Answer::Known, "no runtime of pods");
    }
}
