//! A way as it is computed from what was read of the node, before anything is sent.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    shell::CommandLine,
    verdict::{Fix, Tried},
    world::station::Station,
};

/// What a conversation between two ends would come to, there and back: one of a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Predicted {
    pub outcome: Forecast,
    pub summary: String,
    pub protocol: String,
    pub source: String,
    pub destination: String,
    /// Of its packets, from the IP header on.
    pub bytes: u32,
    pub request: Vec<Stop>,
    /// From wherever that may come to, if anywhere.
    pub reply: Vec<Branch>,
    /// The smallest change that is known to bring it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// Commands that are carried out on what was read first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// What is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    Tcp,
    Udp,
    /// Echo, as ping sends it.
    Icmp,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// And its answer comes back.
    Arrives,
    /// The same as far as this node decides: it leaves for where nothing was read.
    Leaves,
    /// Something that was not read, or is not computed, decides.
    Unknown,
    /// Or some of its packets are.
    Refused,
}

/// A step of the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Whose network namespace it is.
    pub whose: String,
    pub station: Station,
    pub does: Does,
    pub text: String,
    /// What decides, where anything does that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What shows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<CommandLine>,
    /// Of the packet as it leaves this step.
    pub source: String,
    pub destination: String,
    /// Where it is one of several, or all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
}

/// One of several ways that it may go, or goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Branch {
    /// Of all; absent where nobody can tell, and where it is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    pub steps: Vec<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    Comes,
    /// It is led on, or changed.
    Passes,
    Sends,
    /// Out of what was read.
    Leaves,
    Delivers,
    Refuses,
    /// Its sender is told why.
    Answers,
    /// Something has to be agreed on first, by these packets.
    Asks,
    Chooses,
    Copies,
    Unknown,
}

impl Does {
    /// Nothing comes behind it.
    pub fn ends(self) -> bool {
        matches!(
            self,
            Self::Leaves | Self::Delivers | Self::Refuses | Self::Unknown
        )
    }
}
