use crate::{AdmissionPolicy, AdmissionRequest, RefuseReason};

/// Lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl AdmissionPolicy for AdmitAll {
    fn admit(&self, _request: &AdmissionRequest) -> Result<(), RefuseReason> {
        Ok(())
    }
}
