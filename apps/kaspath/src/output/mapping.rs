//! What the router forwards, in sentences.

use kaspath_domain::{MapPurpose, Mapped, MappingEvent};

use super::safe;
use crate::level::Level;

pub(super) fn level(event: &MappingEvent) -> Level {
    match event {
        MappingEvent::Lost { .. } => Level::Warn,
        MappingEvent::Mapped(_) | MappingEvent::Unavailable { .. } => Level::Info,
    }
}

pub(super) fn sentence(event: &MappingEvent) -> String {
    match event {
        MappingEvent::Mapped(mapped) => {
            let Mapped { request, external, by, .. } = mapped;
            format!("the router forwards {external} to {request}{}, asked by {by}", whose(mapped))
        }
        MappingEvent::Lost { mapped, cause } => {
            let Mapped { request, external, .. } = mapped;
            format!("the router forwards {external} to {request}{} no longer: {}", whose(mapped), safe::cause(cause))
        }
        MappingEvent::Unavailable { cause } => format!(
            "the router forwards no port ({}). Hole punches and relays work without; to be reached directly, turn UPnP, NAT-PMP or \
             PCP on in the router, or forward a port by hand and name it with --external-address",
            safe::cause(cause)
        ),
    }
}

fn whose(mapped: &Mapped) -> &'static str {
    if mapped.request.purpose == MapPurpose::Kaspad { " of kaspad" } else { "" }
}
