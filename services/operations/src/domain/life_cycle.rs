//! The life of an operation: which state follows which, on what. Pure, so that the same code runs in the store, under
//! property tests and in the model checker.
//!
//! ```text
//! queued -> dispatched -> running -> succeeded | failed | timed_out | interrupted
//!    |          |            |
//!    v          +-----+------+
//! cancelled           v
//!            cancel_requested -> cancelling -> cancelled | succeeded (finished first)
//! ```
//! Nothing leads back to the queue: once an order may have been sent, only the same attempt may be sent again, which the
//! agent's ledger recognises. (An attempt that was given back and begun anew could meet its own late order at the agent.)
//! A terminal state never changes. What comes too late is parked by the caller: kept for people, without effect.

use roadstead_contracts::operation::{Ending, OperationState};

/// What can happen to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A dispatcher took it out of the queue.
    Dispatched,
    /// The agent has it.
    Accepted,
    /// Somebody asked for a stop.
    CancelAsked,
    /// The agent was told, and will stop.
    CancelTold,
    /// The agent was told, and had never heard of it: it will not begin.
    NeverBegun,
    /// The agent ended it.
    Ended(Ending),
    /// It could not be given to the agent, for a reason that will not go away.
    Refused,
    /// The deadline passed without an ending.
    Overdue,
}

impl Input {
    /// Every one, for tests and the model.
    pub const ALL: [Self; 13] = [
        Self::Dispatched,
        Self::Accepted,
        Self::CancelAsked,
        Self::CancelTold,
        Self::NeverBegun,
        Self::Ended(Ending::Succeeded),
        Self::Ended(Ending::Failed),
        Self::Ended(Ending::Cancelled),
        Self::Ended(Ending::FinishedFirst),
        Self::Ended(Ending::TimedOut),
        Self::Ended(Ending::Interrupted),
        Self::Refused,
        Self::Overdue,
    ];
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This state, for this reason.
    To(OperationState, &'static str),
    /// Nothing: it was known.
    Stay,
    /// It came too late, or to an operation that was never sent: without effect.
    Late,
}

/// Reason of an operation that waits because nobody is there to carry it out.
pub const AWAY: &str = "waits for its agent, which is not connected";
/// Reason of a success that overtook its cancellation.
pub const FINISHED_FIRST: &str = "finished before the cancellation reached it";

/// What follows on an input.
pub fn next(state: OperationState, input: Input) -> Next {
    use Input as I;
    use OperationState as S;
    if state.is_terminal() {
        return Next::Late;
    }
    match (state, input) {
        (S::Queued, I::Dispatched) => Next::To(S::Dispatched, ""),
        (S::Queued, I::CancelAsked) => Next::To(S::Cancelled, "cancelled before it began; nothing was applied"),
        (S::Queued, I::Overdue) => Next::To(S::TimedOut, "the deadline passed before it could begin"),
        (S::Queued, I::Refused) => Next::To(S::Failed, ""),
        // Nothing was sent at this attempt, so nobody can have accepted, ended or been told.
        (S::Queued, _) => Next::Late,
        (S::CancelRequested | S::Cancelling | S::Dispatched, I::NeverBegun) => {
            Next::To(S::Cancelled, "cancelled before it began; nothing was applied")
        }
        (S::Dispatched, I::Accepted) => Next::To(S::Running, ""),
        (S::Dispatched | S::Running, I::CancelAsked) => Next::To(S::CancelRequested, ""),
        (S::CancelRequested, I::CancelTold) => Next::To(S::Cancelling, "the agent stops after the object at hand"),
        (S::Dispatched, I::Dispatched)
        | (S::Running | S::CancelRequested | S::Cancelling, I::Accepted | I::Dispatched)
        | (S::CancelRequested | S::Cancelling, I::CancelAsked)
        | (S::Cancelling, I::CancelTold) => Next::Stay,
        // The agent knew it once: an agent that does not know it any more has lost its ledger.
        (S::Running, I::NeverBegun) => Next::To(S::Interrupted, "the agent does not know the operation any more"),
        (state, I::Ended(ending)) => ended(state, ending),
        (_, I::Refused) => Next::To(S::Failed, ""),
        (_, I::Overdue) => Next::To(S::TimedOut, "the deadline passed"),
        (_, I::Dispatched | I::Accepted | I::CancelAsked | I::CancelTold | I::NeverBegun) => Next::Late,
    }
}

fn ended(state: OperationState, ending: Ending) -> Next {
    use OperationState as S;
    match ending {
        // The agent need not have heard of the cancellation to have been faster.
        Ending::Succeeded if matches!(state, S::CancelRequested | S::Cancelling) => {
            Next::To(S::Succeeded, FINISHED_FIRST)
        }
        Ending::Succeeded => Next::To(S::Succeeded, ""),
        Ending::Failed => Next::To(S::Failed, ""),
        Ending::Cancelled => Next::To(S::Cancelled, "stopped between two objects"),
        Ending::FinishedFirst => Next::To(S::Succeeded, FINISHED_FIRST),
        Ending::TimedOut => Next::To(S::TimedOut, "the deadline passed"),
        Ending::Interrupted => Next::To(S::Interrupted, "the agent died in work that must not be repeated"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminal_states_never_change() {
        for state in OperationState::ALL.into_iter().filter(|state| state.is_terminal()) {
            for input in Input::ALL {
                assert_eq!(next(state, input), Next::Late, "{state:?} {input:?}");
            }
        }
    }

    #[test]
    fn every_open_state_can_end() {
        for state in OperationState::ALL.into_iter().filter(|state| !state.is_terminal()) {
            assert!(
                matches!(next(state, Input::Overdue), Next::To(OperationState::TimedOut, _)),
                "{state:?} must end at its deadline"
            );
        }
    }

    #[test]
    fn the_way_of_the_issue() {
        use Input as I;

        let way = |inputs: &[Input]| {
            inputs.iter().fold(OperationState::Queued, |state, input| match next(state, *input) {
                Next::To(to, _) => to,
                Next::Stay | Next::Late => state,
            })
        };
        assert_eq!(way(&[I::Dispatched, I::Accepted, I::Ended(Ending::Succeeded)]), OperationState::Succeeded);
        assert_eq!(way(&[I::CancelAsked]), OperationState::Cancelled);
        let cancelling = [I::Dispatched, I::Accepted, I::CancelAsked, I::CancelTold];
        assert_eq!(way(&cancelling), OperationState::Cancelling);
        assert_eq!(way(&[&cancelling[..], &[I::Ended(Ending::FinishedFirst)]].concat()), OperationState::Succeeded);
        assert_eq!(way(&[&cancelling[..], &[I::Ended(Ending::Cancelled)]].concat()), OperationState::Cancelled);
    }

    proptest! {
        #[test]
        fn no_way_leads_backward(choices in proptest::collection::vec(0..Input::ALL.len(), 0..40)) {
            let mut state = OperationState::Queued;
            let mut asked = false;
            for choice in choices {
                let input = Input::ALL[choice];
                let Next::To(to, reason) = next(state, input) else { continue };
                prop_assert!(!state.is_terminal());
                prop_assert_ne!(to, state);
                asked |= input == Input::CancelAsked;
                prop_assert_ne!(to, OperationState::Queued);
                if matches!(to, OperationState::CancelRequested | OperationState::Cancelling) {
                    prop_assert!(asked, "nobody asked: {reason}");
                }
                state = to;
            }
        }
    }
}
