//! The ceiling for memory: beyond it nothing new is taken until some is free again.

use std::{sync::Arc, time::Duration};

use kaspath_metrics::resident_memory;
use kaspath_transport_libp2p::Network;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    output::Printer,
    settings::{RelaySettings, Size},
};

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// The memory in tenths of the ceiling below which all is taken again. Between the two nothing
/// changes, so that a relay does not open and close for every connection.
const RELIEF: u64 = 9;

/// Reads the process's memory each second. Runs until it is dropped.
pub(super) async fn watch(network: Arc<Network>, settings: watch::Receiver<RelaySettings>, printer: Printer) {
    let mut ceiling = Ceiling::default();
    let mut is_unknown = false;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let max = settings.borrow().max_memory;
        if max.is_none() && !ceiling.is_over {
            continue;
        }
        let Some(used) = resident_memory() else {
            if !std::mem::replace(&mut is_unknown, true) {
                printer
                    .warning("max-memory has no effect: this system does not say in /proc/self/status how much memory is used");
            }
            continue;
        };
        let Some(is_over) = ceiling.update(used, max) else { continue };
        network.set_pressure(is_over).await;
        let (used, max) = (Size(used >> 20 << 20), max.map_or_else(|| "no ceiling".to_owned(), |max| Size(max).to_string()));
        if is_over {
            printer
                .warning(&format!("{used} of memory are used, and max-memory is {max}: nothing new is taken until some is free"));
        } else {
            printer
                .line(&format!("{used} of memory are used, and max-memory is {max}: connections and circuits are taken again"));
        }
    }
}

/// Whether there is too much, with a gap between both answers.
#[derive(Debug, Default)]
struct Ceiling {
    is_over: bool,
}

impl Ceiling {
    /// `used` bytes are used, of at most `max`; gives what has changed.
    fn update(&mut self, used: u64, max: Option<u64>) -> Option<bool> {
        let is_over = match max {
            None => false,
            Some(max) if self.is_over => used >= max / 10 * RELIEF,
            Some(max) => used >= max,
        };
        (std::mem::replace(&mut self.is_over, is_over) != is_over).then_some(is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_at_the_ceiling_and_again_below_nine_tenths_of_it() {
        let mut ceiling = Ceiling::default();
        let readings = [(999, None), (1000, Some(true)), (1500, None), (950, None), (900, None), (899, Some(false)), (950, None)];
        for (used, changed) in readings {
            assert_eq!(ceiling.update(used, Some(1000)), changed, "{used}");
        }
    }

    #[test]
    fn a_new_ceiling_counts_at_once_and_none_lifts_it() {
        let mut ceiling = Ceiling::default();
        assert_eq!(ceiling.update(500, Some(400)), Some(true));
        assert_eq!(ceiling.update(500, Some(600)), Some(false));
        assert_eq!(ceiling.update(500, Some(400)), Some(true));
        assert_eq!(ceiling.update(500, None), Some(false));
        assert_eq!(ceiling.update(u64::MAX, None), None);
    }
}
