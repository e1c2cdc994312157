/// Gives numbers in 0..1.
pub(super) type Random<'a> = &'a mut dyn FnMut() -> f64;
