//! One operation between two dispatchers, their database, and an agent with a ledger, over a network that loses, repeats and
//! reorders: every interleaving is looked at. The state machine is the service's own ([`life_cycle`]).
//!
//! What is simplified: a lease runs out whenever the checker likes; a message is there or not, however often it was sent; an
//! agent applies an object and notes it in one step, except for a command (`exec`), whose beginning is noted first.

use std::collections::BTreeSet;

use roadstead_contracts::operation::{CancelledRun, Ending, OperationState};
use roadstead_operations::life_cycle::{FINISHED_FIRST, Input, Next, next};
use stateright::{Model, Property};

/// Dispatchers.
const DISPATCHERS: usize = 2;
/// Messages under way: enough for a run, its repeat, a cancellation and two events.
const NETWORK_MAX: usize = 5;

/// What is checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Objects of the operation.
    pub objects: u8,
    /// A command instead of manifests: must never be run twice.
    pub exec: bool,
    /// Times a dispatcher may die.
    pub crashes: u8,
    /// Times the agent may die.
    pub agent_crashes: u8,
}

/// The row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    state: OperationState,
    epoch: u8,
    accepted: bool,
    stored: BTreeSet<u8>,
    /// Who holds the lease, under which token, and whether it still counts.
    holder: Option<usize>,
    token: u8,
    /// The first terminal state there was.
    ended_as: Option<OperationState>,
    never_begun: bool,
    finished_first: bool,
}

/// A dispatcher's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Dispatcher {
    /// The lease it believes to have.
    token: Option<u8>,
    /// It knows that the attempt is stored.
    stored: bool,
    sent: bool,
    telling: bool,
}

/// The agent's disk and memory.
#[expect(clippy::struct_excessive_bools, reason = "each is a line of the ledger of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Agent {
    /// In the ledger.
    known: bool,
    begun: bool,
    done: BTreeSet<u8>,
    ended: Option<Ending>,
    cancel: bool,
    barred: bool,
    settled: bool,
    /// In memory: it works on it.
    running: bool,
    /// What happened to the cluster.
    effects: Vec<u8>,
}

/// A message. Events carry the token of the dispatcher whose stream they are on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    Run { token: u8, begun: bool },
    Accepted { token: u8 },
    Object { token: u8, object: u8 },
    Done { token: u8, ending: u8 },
    Cancel { token: u8 },
    Told { token: u8, answer: u8 },
    Settle,
}

const ENDINGS: [Ending; 6] = [
    Ending::Succeeded,
    Ending::Failed,
    Ending::Cancelled,
    Ending::FinishedFirst,
    Ending::TimedOut,
    Ending::Interrupted,
];
const ANSWERS: [CancelledRun; 3] = [CancelledRun::Stopping, CancelledRun::Ended, CancelledRun::Unknown];

fn number<T: PartialEq>(all: &[T], one: &T) -> u8 {
    u8::try_from(all.iter().position(|known| known == one).unwrap_or(0)).unwrap_or(0)
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    row: Row,
    dispatchers: [Dispatcher; DISPATCHERS],
    agent: Agent,
    network: BTreeSet<Message>,
    asked: bool,
    crashes: u8,
    agent_crashes: u8,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Claim(usize),
    Dispatch(usize),
    Send(usize),
    Tell(usize),
    Die(usize),
    LeaseRunsOut,
    AskForStop,
    Overdue,
    Settle,
    AgentDies,
    AgentBegins,
    AgentWorks,
    AgentEnds,
    /// Delivered, and perhaps once more.
    Deliver(Message, bool),
    Lose(Message),
}

impl World {
    fn take(&mut self, input: Input) {
        let Next::To(state, reason) = next(self.row.state, input) else { return };
        self.row.state = state;
        match state {
            OperationState::Dispatched => self.row.epoch += 1,
            OperationState::Running => self.row.accepted = true,
            _ => {}
        }
        if state.is_terminal() {
            self.row.ended_as.get_or_insert(state);
            self.row.holder = None;
            self.row.never_begun |= input == Input::NeverBegun;
            self.row.finished_first |= reason == FINISHED_FIRST;
        }
    }

    fn send(&mut self, message: Message) {
        if self.network.len() < NETWORK_MAX {
            self.network.insert(message);
        }
    }

    /// Whether what a dispatcher writes under this token still counts.
    fn counts(&self, token: u8) -> bool {
        self.row.token == token && !self.row.state.is_terminal()
    }

    /// The agent says what it has, on a stream.
    fn repeat(&mut self, token: u8) {
        self.send(Message::Accepted { token });
        for object in self.agent.done.clone() {
            self.send(Message::Object { token, object });
        }
        if let Some(ending) = self.agent.ended {
            self.send(Message::Done { token, ending: number(&ENDINGS, &ending) });
        }
    }

    fn deliver(&mut self, checked: &Checked, message: &Message) {
        match message {
            Message::Run { token, begun } => {
                if self.agent.barred && !self.agent.known {
                    return self.send(Message::Done { token: *token, ending: number(&ENDINGS, &Ending::Cancelled) });
                }
                if !self.agent.known {
                    if *begun && checked.exec {
                        let ending = number(&ENDINGS, &Ending::Interrupted);
                        return self.send(Message::Done { token: *token, ending });
                    }
                    self.agent.known = true;
                }
                // Taken up again after a death, unless it must not be.
                if !self.agent.running && self.agent.ended.is_none() {
                    if checked.exec && self.agent.begun {
                        self.agent.ended = Some(Ending::Interrupted);
                    } else {
                        self.agent.running = true;
                    }
                }
                self.repeat(*token);
            }
            Message::Accepted { token } if self.counts(*token) => {
                self.row.accepted = true;
                self.take(Input::Accepted);
            }
            Message::Object { token, object } if self.counts(*token) => {
                self.row.stored.insert(*object);
            }
            Message::Done { token, ending } if self.counts(*token) => {
                self.take(Input::Ended(ENDINGS[usize::from(*ending)]));
            }
            Message::Cancel { token } => {
                let answer = if self.agent.ended.is_some() {
                    CancelledRun::Ended
                } else if self.agent.known {
                    self.agent.cancel = true;
                    CancelledRun::Stopping
                } else {
                    self.agent.barred = true;
                    CancelledRun::Unknown
                };
                self.send(Message::Told { token: *token, answer: number(&ANSWERS, &answer) });
            }
            Message::Told { token, answer } if self.counts(*token) => match ANSWERS[usize::from(*answer)] {
                CancelledRun::Stopping => self.take(Input::CancelTold),
                CancelledRun::Ended => {}
                CancelledRun::Unknown if self.row.accepted => self.take(Input::Ended(Ending::Interrupted)),
                CancelledRun::Unknown => self.take(Input::NeverBegun),
            },
            Message::Settle => self.agent.settled = true,
            // Parked.
            _ => {}
        }
    }
}

impl Model for Checked {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            row: Row {
                state: OperationState::Queued,
                epoch: 0,
                accepted: false,
                stored: BTreeSet::new(),
                holder: None,
                token: 0,
                ended_as: None,
                never_begun: false,
                finished_first: false,
            },
            dispatchers: Default::default(),
            agent: Agent { effects: vec![0; usize::from(self.objects)], ..Agent::default() },
            network: BTreeSet::new(),
            asked: false,
            crashes: 0,
            agent_crashes: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let open = !world.row.state.is_terminal();
        for (number, dispatcher) in world.dispatchers.iter().enumerate() {
            match dispatcher.token {
                // A bound on takeovers keeps the space finite.
                None if open && world.row.holder.is_none() && world.row.token < 4 => {
                    actions.push(Action::Claim(number));
                }
                None => {}
                Some(_) => {
                    if !dispatcher.stored {
                        actions.push(Action::Dispatch(number));
                    } else if !dispatcher.sent {
                        actions.push(Action::Send(number));
                    }
                    if world.row.state == OperationState::CancelRequested && !dispatcher.telling {
                        actions.push(Action::Tell(number));
                    }
                    if world.crashes < self.crashes {
                        actions.push(Action::Die(number));
                    }
                }
            }
        }
        if world.row.holder.is_some() {
            actions.push(Action::LeaseRunsOut);
        }
        if open {
            if !world.asked {
                actions.push(Action::AskForStop);
            }
            actions.push(Action::Overdue);
        } else if !world.agent.settled && world.agent.ended.is_some() {
            actions.push(Action::Settle);
        }
        let agent = &world.agent;
        if agent.running {
            if agent.ended.is_none() {
                let all = agent.done.len() == usize::from(self.objects);
                if self.exec && !agent.begun {
                    actions.push(Action::AgentBegins);
                } else if !all && !agent.cancel {
                    actions.push(Action::AgentWorks);
                }
                if all || agent.cancel {
                    actions.push(Action::AgentEnds);
                }
            }
            if world.agent_crashes < self.agent_crashes {
                actions.push(Action::AgentDies);
            }
        }
        for message in &world.network {
            actions.push(Action::Deliver(message.clone(), false));
            actions.push(Action::Deliver(message.clone(), true));
            actions.push(Action::Lose(message.clone()));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Claim(number) => {
                world.row.token += 1;
                world.row.holder = Some(number);
                world.dispatchers[number] = Dispatcher {
                    token: Some(world.row.token),
                    stored: world.row.state != OperationState::Queued,
                    ..Dispatcher::default()
                };
            }
            Action::Dispatch(number) => {
                let token = world.dispatchers[number].token?;
                // Stored before anything is sent.
                if world.counts(token) && world.row.state == OperationState::Queued {
                    world.take(Input::Dispatched);
                    world.dispatchers[number].stored = true;
                } else {
                    world.dispatchers[number] = Dispatcher::default();
                }
            }
            Action::Send(number) => {
                let token = world.dispatchers[number].token?;
                world.dispatchers[number].sent = true;
                let begun = world.row.accepted;
                world.send(Message::Run { token, begun });
            }
            Action::Tell(number) => {
                let token = world.dispatchers[number].token?;
                world.dispatchers[number].telling = true;
                world.send(Message::Cancel { token });
            }
            Action::Die(number) => {
                world.dispatchers[number] = Dispatcher::default();
                world.crashes += 1;
            }
            Action::LeaseRunsOut => world.row.holder = None,
            Action::AskForStop => {
                world.asked = true;
                world.take(Input::CancelAsked);
            }
            Action::Overdue => world.take(Input::Overdue),
            Action::Settle => world.send(Message::Settle),
            Action::AgentDies => {
                world.agent.running = false;
                world.agent_crashes += 1;
            }
            Action::AgentBegins => world.agent.begun = true,
            Action::AgentWorks => {
                let object = u8::try_from(world.agent.done.len()).ok()?;
                world.agent.done.insert(object);
                world.agent.effects[usize::from(object)] += 1;
                let token = world.row.token;
                world.send(Message::Object { token, object });
            }
            Action::AgentEnds => {
                let all = world.agent.done.len() == usize::from(self.objects);
                let ending = match (all, world.agent.cancel) {
                    (true, true) => Ending::FinishedFirst,
                    (true, false) => Ending::Succeeded,
                    (false, _) => Ending::Cancelled,
                };
                world.agent.ended = Some(ending);
                let token = world.row.token;
                world.send(Message::Done { token, ending: number(&ENDINGS, &ending) });
            }
            Action::Deliver(message, again) => {
                if !again {
                    world.network.remove(&message);
                }
                world.deliver(self, &message);
            }
            Action::Lose(message) => {
                world.network.remove(&message);
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is done twice", |_: &Self, world: &World| {
                world.agent.effects.iter().all(|count| *count <= 1)
            }),
            Property::always("an ending never changes", |_: &Self, world: &World| {
                world.row.ended_as.is_none_or(|state| state == world.row.state)
            }),
            Property::always("nothing is done that was not stored first", |_: &Self, world: &World| {
                world.row.epoch >= 1 || world.agent.effects.iter().all(|count| *count == 0)
            }),
            Property::always("cancelled before it began means that nothing is done", |_: &Self, world: &World| {
                !world.row.never_begun || world.agent.effects.iter().all(|count| *count == 0)
            }),
            Property::always("succeeded means that everything is done", |_: &Self, world: &World| {
                world.row.state != OperationState::Succeeded || world.agent.effects.iter().all(|count| *count == 1)
            }),
            Property::always("nothing is settled that is not stored", |_: &Self, world: &World| {
                !world.agent.settled || world.row.state.is_terminal()
            }),
            Property::always("what is stored was done", |_: &Self, world: &World| {
                world.row.stored.iter().all(|object| world.agent.effects[usize::from(*object)] == 1)
            }),
            Property::sometimes("it succeeds", |_: &Self, world: &World| {
                world.row.state == OperationState::Succeeded && !world.row.finished_first
            }),
            Property::sometimes("it finishes before its cancellation", |_: &Self, world: &World| {
                world.row.finished_first
            }),
            Property::sometimes("it is cancelled between two objects", |_: &Self, world: &World| {
                world.row.state == OperationState::Cancelled
                    && !world.row.never_begun
                    && world.agent.effects.contains(&1)
            }),
            Property::sometimes("it is cancelled before it begins", |_: &Self, world: &World| world.row.never_begun),
            Property::sometimes("it succeeds after two deaths", |_: &Self, world: &World| {
                world.row.state == OperationState::Succeeded && world.crashes > 0 && world.agent_crashes > 0
            }),
        ]
    }
}
