//! Actions on a flag's plan: starting, pausing, going on.
//!
//! They are edits like the others; what each does stands in [`operate::rollout`](crate::operate::rollout).

use http::StatusCode;

use super::call::{Answer, Call};
use super::edits::{self, EDIT_WITHIN, edited};
use super::local_kill;
use super::route::{Route, route};
use crate::operate::rollout::{self, Plan};
use crate::store::Change;

pub(super) const ROUTES: &[Route] = &[
    route!("POST", "flags/{name}/rollout/start", Editor, ["reason"], start),
    route!("POST", "flags/{name}/rollout/pause", Editor, ["reason"], pause),
    route!("POST", "flags/{name}/rollout/resume", Editor, ["reason"], resume),
    route!("POST", "flags/{name}/rollout/advance", Editor, ["reason"], advance),
    route!("POST", "flags/{name}/rollout/back", Editor, ["reason"], back),
    route!("POST", "flags/{name}/rollout/roll-back", Editor, ["reason"], roll_back),
];

async fn start(call: Call) -> Answer {
    let (text, _) = call.json()?;
    let plan: Plan = text.parse()?;
    edit(&call, || rollout::start(plan.clone())).await
}

async fn pause(call: Call) -> Answer {
    call.no_body()?;
    edit(&call, rollout::pause).await
}

async fn resume(call: Call) -> Answer {
    call.no_body()?;
    edit(&call, rollout::resume).await
}

async fn advance(call: Call) -> Answer {
    call.no_body()?;
    edit(&call, rollout::advance).await
}

async fn back(call: Call) -> Answer {
    call.no_body()?;
    edit(&call, rollout::go_back).await
}

/// Switches the flag off, so it is a kill, and reaches this process whatever the store does.
async fn roll_back(call: Call) -> Answer {
    call.no_body()?;
    let precondition = call.precondition()?;
    local_kill::kill(&call, &precondition, &[], |stored, _| {
        edits::text(stored)?;
        Ok(rollout::roll_back())
    })
    .await
}

async fn edit(call: &Call, change: impl Fn() -> Change + Send + Sync) -> Answer {
    let precondition = call.precondition()?;
    let changed = edits::apply(call, EDIT_WITHIN, &precondition, |stored, _| {
        edits::text(stored)?;
        Ok(change())
    })
    .await?;
    edited(call, StatusCode::OK, &changed, &[]).await
}
