//! What is changed in a campaign: a mix of all kinds of change that may run twice without a word, and must not. An apply that
//! runs twice shows nothing. Changes of one object make a story: they are sent one after another, so each must also wait for
//! its turn. What a command in a pod does is no object's state, so there is no `exec` here
//! (`agent::operations::orders::f10_a_command_is_never_run_again_by_itself`), and Helm has its own (`f10_a_killed_release_…`).

use roadstead_mesh_tests::checker::{Deed, Wanted};
use serde_json::json;

use super::super::rig::config_map;
use super::Dice;

/// What is told of some objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Story {
    /// ConfigMaps are made.
    Plain,
    /// And become others.
    Changed,
    /// And go, and come back as others.
    Replaced,
    /// A Deployment is made, restarted, taken back, scaled at some time, and goes.
    Workload,
}

/// One round of stories: whoever sends that many has sent every kind of change. More than half of the changes are applies of
/// ConfigMaps, so that a run takes as long as it did with nothing else.
const DECK: [Story; 6] = [Story::Plain, Story::Plain, Story::Plain, Story::Changed, Story::Replaced, Story::Workload];

/// A change as it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// For the checker.
    pub(super) wanted: Wanted,
    /// Its namespace.
    pub(super) place: String,
}

/// Which story comes when, by a seed.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    seed: u64,
    place: String,
    objects: usize,
}

impl Mix {
    /// Stories in a namespace, of so many ConfigMaps each.
    pub(super) fn new(dice: &mut Dice, place: &str, objects: usize) -> Self {
        Self { seed: dice.draw(), place: place.to_owned(), objects }
    }

    /// The changes of one story, in their order.
    pub(super) fn story(&self, number: usize) -> Vec<Change> {
        let mut dice = self.dice(number / DECK.len());
        let deck = dice.some(DECK.to_vec(), usize::MAX);
        self.tell(number, deck.get(number % DECK.len()).copied().unwrap_or(Story::Plain))
    }

    /// The changes of a story of this kind; no two stories of one mix may have the same number.
    pub(super) fn tell(&self, number: usize, story: Story) -> Vec<Change> {
        let apply = |value: &str, replicas| Deed::Apply { value: value.to_owned(), replicas };
        let deeds = match story {
            Story::Plain => vec![apply("1", 0)],
            Story::Changed => vec![apply("1", 0), apply("2", 0)],
            Story::Replaced => vec![apply("1", 0), Deed::Delete, apply("2", 0)],
            Story::Workload => {
                let mut between = vec![Deed::Restart, Deed::Rollback];
                between.insert(self.dice(number).below(3), Deed::Scale(2));
                [vec![apply("1", 1)], between, vec![Deed::Delete]].concat()
            }
        };
        let workload = story == Story::Workload;
        let objects: Vec<String> = if workload {
            vec![format!("shop-{number:04}")]
        } else {
            (0..self.objects).map(|object| format!("op-{number:04}-{object:02}")).collect()
        };
        let change = |(step, deed)| {
            let key = format!("{}-{number}-{step}", self.place);
            let wanted = Wanted { key, deed, workload, objects: objects.clone(), ..Wanted::default() };
            Change { wanted, place: self.place.clone() }
        };
        deeds.into_iter().enumerate().map(change).collect()
    }

    fn dice(&self, number: usize) -> Dice {
        // The golden ratio: numbers that follow each other are far apart.
        let mut dice = Dice((self.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..8 {
            dice.draw();
        }
        dice
    }
}

impl Change {
    /// Path, kind and text of its request.
    pub(super) fn request(&self, cluster: &str) -> (String, &'static str, String) {
        let Wanted { deed, objects, .. } = &self.wanted;
        let (manifests, operations) = ("application/yaml", "application/json");
        let at = |tail: &str| format!("/api/v1/clusters/{cluster}/{tail}");
        if let Deed::Apply { value, replicas } = deed {
            return (at("manifests"), manifests, self.documents(value, *replicas));
        }
        let name = objects.first().map(String::as_str).unwrap_or_default();
        let object = json!({ "api_version": "apps/v1", "kind": "Deployment", "namespace": self.place, "name": name });
        let mut body = json!({ "kind": deed.word() });
        match deed {
            Deed::Delete => body["manifests"] = json!(self.documents("1", 1)),
            Deed::Scale(replicas) => (body["object"], body["replicas"]) = (object, json!(replicas)),
            _ => body["object"] = object,
        }
        (at("operations"), operations, body.to_string())
    }

    fn documents(&self, value: &str, replicas: u32) -> String {
        let document = |name: &String| {
            if self.wanted.workload {
                format!("{}\n", deployment(&self.place, name, value, replicas))
            } else {
                config_map(&self.place, name, value)
            }
        };
        self.wanted.objects.iter().map(document).collect::<Vec<_>>().join("---\n")
    }
}

/// A Deployment whose pods nobody runs: its controllers keep its revisions all the same, and a campaign leaves hundreds.
fn deployment(place: &str, name: &str, tag: &str, replicas: u32) -> serde_json::Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": place },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "schedulerName": "nobody",
                    "containers": [{ "name": "shop", "image": format!("registry.example/shop:{tag}") }],
                },
            },
        },
    })
}
