//! The ConfigMaps of what runs the network, each by its name: whoever allows netdiag those few need
//! not allow all of them.
use std::time::Duration;

use kube::{Api, Client, Error};
use tokio::time::{sleep, timeout};

use super::{cluster_store::ClusterStore, follow::why, objects::ConfigMap};
use crate::model::cluster::{Flannel, Topic, Trouble};

/// Settings change when somebody installs something.
const AGAIN: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "kube-flannel-cfg";
const NAMESPACES: [&str; 2] = ["kube-flannel", "kube-system"];

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetConf {
    network: Option<String>,
    #[serde(rename = "IPv6Network")]
    ipv6_network: Option<String>,
    backend: Backend,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Backend {
    r#type: Option<String>,
    #[serde(rename = "VNI")]
    vni: Option<u32>,
    port: Option<u16>,
}

pub async fn follow(client: Client, book: ClusterStore) {
    loop {
        let pause = match timeout(PATIENCE, flannel(&client)).await {
            Ok(Ok(found)) => {
                book.write(|inner| {
                    inner.flannel = found;
                    inner.known(Topic::ConfigMaps);
                });
                AGAIN
            }
            Ok(Err(trouble)) => {
                book.trouble(Topic::ConfigMaps, trouble);
                RETRY
            }
            Err(_) => {
                let (why, heard) = (format!("no answer within {} s", PATIENCE.as_secs()), None);
                book.trouble(Topic::ConfigMaps, Trouble::Failed { why, heard });
                RETRY
            }
        };
        sleep(pause).await;
    }
}

/// The first that is there; a cluster without flannel has none.
async fn flannel(client: &Client) -> Result<Option<Flannel>, Trouble> {
    for namespace in NAMESPACES {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let found = match api.get_opt(NAME).await {
            Ok(found) => found,
            Err(Error::Api(status)) if status.code == 403 => {
                let verb = format!("get ({NAME} in {namespace})");
                return Err(Trouble::Forbidden(verb));
            }
            Err(error) => {
                let (why, heard) = (why(&error), None);
                return Err(Trouble::Failed { why, heard });
            }
        };
        if let Some(map) = found {
            return Ok(Some(read(&map, namespace)));
        }
    }
    Ok(None)
}

fn read(map: &ConfigMap, namespace: &str) -> Flannel {
    let text = map.data.get("net-conf.json");
    let conf: Option<NetConf> = text.and_then(|t| serde_json::from_str(t).ok());
    let conf = conf.unwrap_or_default();
    let networks = [conf.network, conf.ipv6_network].into_iter().flatten();
    Flannel {
        from: format!("{namespace}/{NAME}"),
        networks: networks.filter_map(|n| n.parse().ok()).collect(),
        backend: conf.backend.r#type,
        vni: conf.backend.vni,
        port: conf.backend.port,
    }
}
