//! The pods' questions, asked by hand.
use std::net::IpAddr;

use crate::{
    model::{dns, shell::CommandLine},
    pipeline::facts::Question,
    shell,
};

/// The same question by hand; not of a name that was too long to be kept whole.
pub fn ask(server: IpAddr, name: &str) -> Option<CommandLine> {
    (!name.ends_with('…')).then(|| shell!("dig +time=2 +tries=1 @{} -q {v}", server, name))
}

/// The same for a question that was seen, which is answered as it was then.
pub fn ask_again(server: IpAddr, question: &Question) -> Option<CommandLine> {
    let dns = &question.dns;
    let all = [
        (dns.noerror, "NOERROR"),
        (dns.nxdomain, "NXDOMAIN"),
        (dns.servfail, "SERVFAIL"),
        (dns.refused, "REFUSED"),
    ];
    let said: Vec<_> = all.iter().filter(|(count, _)| *count > 0).collect();
    let said: Vec<_> = said.into_iter().map(|(_, status)| *status).collect();
    let asked = ask(server, &question.name)?.with_words(["-t", &dns::kind(question.key.kind)]);
    // One of them may be under way.
    let silent = said.is_empty() || dns.unanswered > 1;
    Some(match silent {
        true => asked.failing(),
        false => asked.showing(&said),
    })
}
