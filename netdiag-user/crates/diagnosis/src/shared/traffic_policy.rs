//! Services whose traffic policy is Local: who may be asked, and whether anybody here answers.
use crate::{
    model::{
        cluster::{self, Topic},
        services::{Engine, Service},
    },
    pipeline::facts::Facts,
};

/// Whether this refusal is the policy's and not for lack of any endpoint: IPVS does not tell.
pub fn is_local_only(facts: &Facts<'_>, rule: &Service) -> bool {
    let unclear = rule.rejected && rule.engine == Engine::Ipvs;
    rule.local || unclear && is_elsewhere(facts, rule)
}

/// The Service as the API has it, by its address, or by its port of the node.
pub fn by_api<'a>(
    facts: &Facts<'a>,
    rule: &Service,
) -> Option<(&'a cluster::Service, &'a cluster::Port)> {
    let (port, protocol) = (rule.port, rule.protocol);
    let own = rule.address.is_unspecified() || facts.owns(rule.address);
    let at_node = || facts.cluster.at_node_port(port, protocol).filter(|_| own);
    let by_address = facts.cluster.service(rule.address, Some((port, protocol)));
    by_address.or_else(at_node)
}

/// Its ready endpoints, where the API knows them.
pub fn ready<'a>(facts: &Facts<'a>, rule: &Service) -> Option<Vec<&'a cluster::Backend>> {
    let state = facts.cluster.states.get(&Topic::EndpointSlices)?;
    let (of, port) = by_api(facts, rule).filter(|_| state.known)?;
    let all = of.endpoints(port).into_iter().map(|(backend, _)| backend);
    Some(all.filter(|backend| backend.ready).collect())
}

/// Its policy is Local, and its endpoints are on other nodes: so the API says.
fn is_elsewhere(facts: &Facts<'_>, rule: &Service) -> bool {
    let Some((of, _)) = by_api(facts, rule) else {
        return false;
    };
    let local = match of.addresses.contains(&rule.address) {
        true => of.internal_local,
        false => of.external_local,
    };
    let here = facts.cluster.node.as_ref();
    let endpoints = ready(facts, rule).unwrap_or_default();
    let others = endpoints
        .iter()
        .all(|e| e.node.is_some() && e.node.as_ref() != here);
    local && here.is_some() && !endpoints.is_empty() && others
}
