//! NAT kinds as nftables rules (names after RFC 4787: how a NAT maps, and what
//! it lets in).

use std::{fmt, net::Ipv4Addr};

/// A kind of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NatKind {
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping, address- and port-dependent filtering.
    PortRestricted,
    /// Address- and port-dependent mapping and filtering.
    Symmetric,
}

impl NatKind {
    pub(crate) const ALL: [NatKind; 4] = [Self::FullCone, Self::AddressRestricted, Self::PortRestricted, Self::Symmetric];

    /// Whether a punch between two such NATs can work without guessing ports:
    /// it cannot where one side's port is unknown and the other side insists on it.
    pub(crate) fn can_punch(self, other: Self) -> bool {
        let insists = |kind| matches!(kind, Self::PortRestricted | Self::Symmetric);
        !(self == Self::Symmetric && insists(other) || other == Self::Symmetric && insists(self))
    }

    /// The router's rules: `wan` is its outer interface, `host` the one behind it.
    pub(super) fn rules(self, host: Ipv4Addr) -> String {
        self.rules_mapping(host, "")
    }

    /// The rules of a port-restricted NAT that maps to other ports than its host uses:
    /// port 4001, where the programs listen, to `port` for every destination, and any
    /// other to whatever comes.
    pub(super) fn rules_on_other_ports(host: Ipv4Addr, port: u16) -> String {
        let moved = format!(
            "oifname \"wan\" tcp sport 4001 masquerade to :{port}
                    oifname \"wan\" udp sport 4001 masquerade to :{port}
                    oifname \"wan\" masquerade fully-random"
        );
        Self::PortRestricted.rules_mapping(host, &moved)
    }

    /// `first` are rules of the mapping that go before the kind's own.
    fn rules_mapping(self, host: Ipv4Addr, first: &str) -> String {
        // The router itself drops what nobody asked for: an RST would end a punch.
        let base = "
            chain input { type filter hook input priority filter; policy accept;
                iifname \"wan\" ct state new drop
            }";
        let (prerouting, mapping) = match self {
            Self::FullCone => (format!("iifname \"wan\" meta l4proto {{ tcp, udp }} dnat to {host}"), "masquerade"),
            Self::AddressRestricted => (
                // Only addresses that the host has sent to within the last minutes come in.
                format!("iifname \"wan\" ip saddr @contacted meta l4proto {{ tcp, udp }} dnat to {host}"),
                "masquerade",
            ),
            // Conntrack keeps the source port where it is free, so the mapping is
            // the same for every destination; replies pass by their state alone.
            Self::PortRestricted => (String::new(), "masquerade"),
            Self::Symmetric => (String::new(), "masquerade fully-random"),
        };
        // What is forwarded to the host by these rules, or by a port that it had mapped, is
        // let in.
        let contacted = if self == Self::AddressRestricted {
            "set contacted { type ipv4_addr; flags dynamic,timeout; timeout 5m; size 1024; }
             chain note { type filter hook forward priority filter - 1; policy accept;
                iifname \"lan\" oifname \"wan\" update @contacted { ip daddr }
             }"
        } else {
            ""
        };
        format!(
            "table ip lab {{ {base}
                {contacted}
                chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; {prerouting}
                }}
                chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;
                    {first}
                    oifname \"wan\" {mapping}
                }}
                chain forward {{ type filter hook forward priority filter; policy drop;
                    iifname \"lan\" accept
                    ct state established,related accept
                    ct status dnat accept
                }}
            }}"
        )
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
        })
    }
}
