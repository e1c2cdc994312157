use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A Kaspa network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KaspaNetwork {
    /// The main network.
    Mainnet,
    /// The public test network number 10.
    #[serde(rename = "testnet-10")]
    Testnet10,
    /// A network without proof of work, for simulations.
    Simnet,
    /// A developers' network.
    Devnet,
}

/// A name that is not a Kaspa network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a Kaspa network; choose one of mainnet, testnet-10, simnet, devnet")]
pub struct UnknownNetwork(String);

impl KaspaNetwork {
    /// Every network.
    pub const ALL: [KaspaNetwork; 4] = [Self::Mainnet, Self::Testnet10, Self::Simnet, Self::Devnet];

    /// Its name in a Version message.
    pub fn wire_name(self) -> &'static str {
        match self {
            Self::Mainnet => "kaspa-mainnet",
            Self::Testnet10 => "kaspa-testnet-10",
            Self::Simnet => "kaspa-simnet",
            Self::Devnet => "kaspa-devnet",
        }
    }

    /// The P2P port that its nodes use by default.
    pub fn p2p_port(self) -> u16 {
        match self {
            Self::Mainnet => 16111,
            Self::Testnet10 => 16211,
            Self::Simnet => 16511,
            Self::Devnet => 16611,
        }
    }

    /// The port of kaspad's gRPC by default: never a peer's.
    pub fn grpc_port(self) -> u16 {
        self.p2p_port() - 1
    }

    /// The port of kaspad's JSON RPC by default.
    pub fn json_rpc_port(self) -> u16 {
        self.grpc_port() + 2_000
    }
}

impl fmt::Display for KaspaNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name().trim_start_matches("kaspa-"))
    }
}

impl FromStr for KaspaNetwork {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        let name = text.trim_start_matches("kaspa-");
        Self::ALL.into_iter().find(|network| network.to_string() == name).ok_or_else(|| UnknownNetwork(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for network in KaspaNetwork::ALL {
            assert_eq!(network.to_string().parse(), Ok(network));
            assert_eq!(network.wire_name().parse(), Ok(network));
        }
        assert_eq!((KaspaNetwork::Simnet.grpc_port(), KaspaNetwork::Simnet.json_rpc_port()), (16510, 18510));
        assert!("moonnet".parse::<KaspaNetwork>().unwrap_err().to_string().contains("testnet-10"));
    }
}
