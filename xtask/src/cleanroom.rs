//! wip
use crate::sh::Result;
use crate::steps::Steps;
pub(crate) fn job(_: &[&str]) -> Result<()> {
    Err("wip".into())
}
pub(crate) fn step(_: &mut Steps) {}
