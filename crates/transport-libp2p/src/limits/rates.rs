use std::collections::HashMap;

use kaspath_domain::{IpPrefix, Timestamp, TokenBucket, make_room};

use super::{ConnectionLimits, refusal::Refusal};

/// Addresses and prefixes whose pace is remembered; then the one seen longest ago
/// goes, which has a full bucket again.
const MAX_REMEMBERED: usize = 4096;

/// At what pace addresses and prefixes may begin TCP connections.
pub(super) struct Rates {
    buckets: HashMap<IpPrefix, TokenBucket>,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { buckets: HashMap::new() }
    }

    /// A connection begins. One address that begins too many does not use up what its
    /// prefix may.
    pub(super) fn begin(
        &mut self,
        host: IpPrefix,
        network: IpPrefix,
        limits: &ConnectionLimits,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        for (from, burst, refill) in
            [(host, limits.burst_per_address, limits.refill), (network, limits.burst_per_prefix, limits.refill / 4)]
        {
            make_room(&mut self.buckets, &from, MAX_REMEMBERED, TokenBucket::last_asked);
            let bucket = self.buckets.entry(from).or_insert_with(|| TokenBucket::new(burst, refill));
            bucket.take(now).map_err(|_| Refusal::TooFast { from })?;
        }
        Ok(())
    }
}
