//! How a replica stops: its agents are told to go elsewhere, so many at a time as other replicas let in. Each serves new
//! requests until it is told, dials another replica then, and ends what it carries meanwhile; whatever is still under way at
//! the end of the drain is cut. A watch among it ends cleanly at the front door, so that its client resumes.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::agent::Notice;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::DropGuard;

use crate::app::App;
use crate::limits::{DRAIN_LIMIT, DRAIN_LOOK, FINISH_WAIT, MOVE_JITTER, MOVE_SPREAD, MOVE_WAIT};
use crate::session::{Held, refresh};

/// Waits for the stop and empties the replica; `drained` goes when that is over, or cut.
pub(crate) async fn drain_when_stopping(app: Arc<App>, drained: DropGuard) {
    app.tasks.stopping().cancelled_owned().await;
    let here = app.sessions.len();
    if here > 0 {
        tracing::info!("{here} agents are told to move");
    }
    let began = Instant::now();
    let moving = async {
        while app.sessions.len() > 0 && began.elapsed() < DRAIN_LIMIT {
            look(&app, began.elapsed());
            sleep(DRAIN_LOOK).await;
        }
    };
    // Its refreshes have ended: once more, so that whoever is told last is still found here until then.
    let seen = timeout(MOVE_SPREAD, refresh(&app));
    let _ = tokio::join!(moving, seen);
    app.sessions.all().iter().for_each(|held| held.close("the hub restarts"));
    match app.store.leave(app.replica, &app.own_change()).await {
        Ok(_) => app.relay.nudge(),
        // The others notice within seconds that this replica is gone.
        Err(fault) => tracing::warn!("this replica could not say that it leaves: {fault}"),
    }
    drop(drained);
}

/// Tells those whose turn it is, and lets go those that were told, carry nothing and do not go.
fn look(app: &App, elapsed: Duration) {
    let (told, staying): (Vec<_>, Vec<_>) =
        app.sessions.all().into_iter().partition(|agent| agent.leaving_for().is_some());
    for agent in told {
        if agent.leaving_for().is_some_and(|time| time >= MOVE_WAIT) && agent.is_quiet() {
            agent.close("the hub restarts");
        }
    }
    let late = elapsed >= FINISH_WAIT;
    let turns = turns(staying.len(), elapsed, app.settings.agents.admit_per_second);
    staying.iter().filter(|agent| late || agent.is_quiet()).take(turns).for_each(|agent| tell(app, agent));
}

/// How many are told at one look: as many as another replica lets in meanwhile, and more where all could not be told in time.
fn turns(staying: usize, elapsed: Duration, admitted_per_second: u32) -> usize {
    let admitted = (DRAIN_LOOK * admitted_per_second).as_secs();
    let looks = MOVE_SPREAD.saturating_sub(elapsed).as_millis() / DRAIN_LOOK.as_millis();
    let needed = staying.div_ceil(usize::try_from(looks).unwrap_or(usize::MAX).max(1));
    usize::try_from(admitted).unwrap_or(usize::MAX).max(needed).max(1)
}

/// Who asks for it from now on waits until it is elsewhere.
fn tell(app: &App, agent: &Held) {
    agent.leave();
    let after_milliseconds = u32::try_from(app.ids.jitter(MOVE_JITTER).as_millis()).unwrap_or(u32::MAX);
    agent.notify(&Notice::Move { after_milliseconds });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes to tell so many.
    fn spread(agents: usize, admitted_per_second: u32) -> Duration {
        let (mut left, mut elapsed) = (agents, Duration::ZERO);
        while left > 0 {
            left -= turns(left, elapsed, admitted_per_second).min(left);
            elapsed += DRAIN_LOOK;
        }
        elapsed
    }

    #[test]
    fn agents_are_told_as_fast_as_others_let_them_in_and_all_in_time() {
        assert_eq!(spread(1, 1_000), DRAIN_LOOK);
        assert_eq!(spread(50, 1_000), DRAIN_LOOK);
        assert_eq!(spread(5_000, 1_000), Duration::from_secs(5));
        for (agents, admitted) in [(10_000, 1_000), (10_000, 1), (100, 1)] {
            assert!(spread(agents, admitted) <= MOVE_SPREAD, "{agents} at {admitted}: {:?}", spread(agents, admitted));
        }
        assert!(MOVE_SPREAD < DRAIN_LIMIT && MOVE_JITTER < crate::limits::RECONNECT_WAIT / 10);
    }
}
