//! A place at the gate.

use std::sync::{Arc, Mutex, PoisonError};

use super::gate::{Gate, Ticket};

/// An inbound connection's place at the gate, given back when dropped.
pub(super) struct Permit {
    gate: Arc<Mutex<Gate>>,
    ticket: Option<Ticket>,
}

impl Permit {
    pub(super) fn new(gate: Arc<Mutex<Gate>>, ticket: Ticket) -> Self {
        Self { gate, ticket: Some(ticket) }
    }

    /// The handshake has succeeded.
    pub(super) fn establish(&self) {
        if let Some(ticket) = &self.ticket {
            self.gate.lock().unwrap_or_else(PoisonError::into_inner).establish(ticket);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.lock().unwrap_or_else(PoisonError::into_inner).release(ticket);
        }
    }
}
