//! Shares of the traffic.

use crate::model::Invalid;

/// APISIX's default.
const DEFAULT: u32 = 100;

/// The heaviest weight: far from an overflow of a sum of weights.
const HEAVIEST: u32 = 1_000_000;

/// The weight of the object at `field`.
pub(super) fn weight(weight: Option<i64>, field: &str) -> Result<u32, Invalid> {
    let Some(weight) = weight else { return Ok(DEFAULT) };
    let valid = u32::try_from(weight).ok().filter(|weight| *weight <= HEAVIEST);
    valid.ok_or_else(|| Invalid::spec(format!("{field}.weight"), format!("{weight} is not between 0 and {HEAVIEST}")))
}
