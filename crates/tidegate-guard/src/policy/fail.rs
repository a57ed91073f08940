//! Fail-open or fail-closed, stage by stage. It judges nothing.

/// What happens when a stage cannot do its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailMode {
    /// What it would have judged goes on, and the event says so.
    Open,
    /// What it would have judged is refused.
    Closed,
}

/// The word of each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fail {
    /// A message that could not be inspected to its end within the budget: the mode of the rule `overlimit`, unless
    /// that is named. Default: closed where a rule blocks, open otherwise.
    pub content: FailMode,
    /// A token whose issuer's keys were never fetched. Default: closed.
    pub credentials: FailMode,
    /// An event that could not be written. Default: closed where a rule blocks, open otherwise; closed
    /// means that no new connection is taken until events can be written again.
    pub audit: FailMode,
}
