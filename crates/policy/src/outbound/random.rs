/// Gives numbers in 0..1.
pub(super) type Random<'a> = &'a mut dyn FnMut() -> f64;

/// A random index of `len` items, of which there is at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn below(len: usize, random: Random<'_>) -> usize {
    ((random().clamp(0.0, 1.0) * len as f64) as usize).min(len - 1)
}
