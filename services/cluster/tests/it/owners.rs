//! Owners of accounts and clusters that hold everything in a map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use roadstead_bus::{Bus, Router, ServeOptions};
use roadstead_contracts::agent::{NamespaceInfo, NamespaceList};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{AgentId, ApiKeyId, ClusterId, JoinTokenId, SessionId, UserId};
use roadstead_contracts::message::*;
use roadstead_contracts::names::{ClusterName, Namespace};
use roadstead_contracts::{Code, Error, Result, queue};
use roadstead_runtime::Ids;

/// The time at which the clock of the tests stands: the seeds' documents'.
pub fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 1, 1, 12, 0, 0).unwrap()
}

/// What the fake owners know and what they were asked.
pub struct World {
    pub ids: Ids,
    pub keys: Mutex<HashMap<(ApiKeyId, String), Principal>>,
    pub sessions: Mutex<HashMap<SessionId, Principal>>,
    pub clusters: Mutex<Vec<(Cluster, String)>>,
    pub agents: Mutex<Vec<(Agent, Option<UserId>)>>,
    pub tokens: Mutex<Vec<(JoinToken, String, UserId)>>,
    /// Profile and namespaces of each directly connected cluster.
    pub rights: Mutex<Vec<(RightsProfile, Vec<Namespace>)>>,
    /// What the seeds' clients said of clusters.
    pub details: Mutex<HashMap<ClusterId, SeedClusterDetails>>,
    pub agent: Mutex<AgentMood>,
    pub asked: Mutex<BTreeMap<&'static str, usize>>,
    pub bodies: Mutex<String>,
}

/// How the agents of the tests answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentMood {
    Well,
    Offline,
    Broken,
    Silent,
}

impl World {
    pub fn new(ids: Ids) -> Arc<Self> {
        Arc::new(Self {
            ids,
            keys: Mutex::default(),
            sessions: Mutex::default(),
            clusters: Mutex::default(),
            agents: Mutex::default(),
            tokens: Mutex::default(),
            rights: Mutex::default(),
            details: Mutex::default(),
            agent: Mutex::new(AgentMood::Well),
            asked: Mutex::default(),
            bodies: Mutex::default(),
        })
    }

    pub fn asked(&self, kind: &str) -> usize {
        self.asked.lock().unwrap().get(kind).copied().unwrap_or(0)
    }

    fn note<R: Request>(&self, request: &R) {
        *self.asked.lock().unwrap().entry(R::KIND).or_default() += 1;
        self.bodies.lock().unwrap().push_str(&serde_json::to_string(request).unwrap());
    }

    /// A cluster with an agent that is connected.
    pub fn add_cluster(&self, name: &str, owner: UserId) -> Cluster {
        let mut clusters = self.clusters.lock().unwrap();
        let agent_id: AgentId = self.ids.next();
        let cluster = Cluster {
            id: self.ids.next(),
            seq: i64::try_from(clusters.len()).unwrap() + 123,
            name: ClusterName::parse(name).unwrap(),
            description: String::new(),
            labels: roadstead_contracts::names::Labels::default(),
            mode: ClusterMode::Agent,
            endpoint: None,
            status: ClusterStatus::Connected,
            owner_id: Some(owner),
            agent_id: Some(agent_id),
            facts: ClusterFacts { health: Some("healthy".to_owned()), ..ClusterFacts::default() },
            last_seen_at: Some(noon()),
            created_at: noon(),
            updated_at: noon(),
        };
        clusters.push((cluster.clone(), String::new()));
        let agent = Agent {
            agent_id: agent_id.to_string(),
            cluster_id: Some(cluster.id),
            cluster_seq: Some(cluster.seq),
            cluster_name: Some(cluster.name.clone()),
            connected: true,
            revoked: false,
            version: Some("0.1.0".to_owned()),
            last_seen_at: Some(noon()),
            created_at: noon(),
            commands_only: false,
            cluster: Some(cluster.policy_facts()),
        };
        self.agents.lock().unwrap().push((agent, Some(owner)));
        cluster
    }

    pub fn details(&self, cluster: ClusterId) -> SeedClusterDetails {
        self.details.lock().unwrap().get(&cluster).cloned().unwrap_or_default()
    }

    pub fn find(&self, principal: &Principal, reference: &str) -> Result<Cluster> {
        let clusters = self.clusters.lock().unwrap();
        let found = clusters.iter().map(|(cluster, _)| cluster).find(|cluster| {
            cluster.id.to_string() == reference
                || cluster.seq.to_string() == reference
                || cluster.name.as_str() == reference
        });
        found
            .filter(|cluster| roadstead_policy::sees(principal, &cluster.policy_facts(), noon()))
            .cloned()
            .ok_or_else(|| Error::not_found("no such cluster"))
    }

    fn resolve(&self, principal: &Principal, target: &AgentTarget) -> Result<Agent> {
        let reference = match target {
            AgentTarget::Agent(id) => id.clone(),
            AgentTarget::Cluster(cluster) => self.find(principal, cluster)?.agent_id.unwrap().to_string(),
        };
        let agents = self.agents.lock().unwrap();
        let found = agents.iter().find(|(agent, owner)| {
            agent.agent_id == reference
                && match &agent.cluster {
                    Some(cluster) => roadstead_policy::sees(principal, cluster, noon()),
                    None => *owner == Some(principal.user_id),
                }
        });
        let mut agent = found.map(|(agent, _)| agent.clone()).ok_or_else(|| Error::not_found("no such agent"))?;
        agent.connected &= *self.agent.lock().unwrap() != AgentMood::Offline;
        Ok(agent)
    }

    async fn namespaces(&self, request: &GetNamespaces) -> Result<Namespaces> {
        assert!(request.assertion.as_deref().is_some_and(|text| text.contains('.')), "an identity goes with it");
        let agent = self.resolve(&request.principal, &request.target)?;
        let mood = *self.agent.lock().unwrap();
        match mood {
            AgentMood::Well => {}
            AgentMood::Offline => return Err(Code::AgentOffline.into()),
            AgentMood::Broken => return Err(Error::new(Code::AgentError, "boom")),
            AgentMood::Silent => tokio::time::sleep(Duration::from_secs(60)).await,
        }
        Ok(Namespaces {
            agent_id: agent.agent_id.parse().unwrap(),
            cluster_id: agent.cluster_id.unwrap(),
            cluster_seq: agent.cluster_seq.unwrap(),
            list: NamespaceList {
                namespaces: vec![NamespaceInfo {
                    name: "default".to_owned(),
                    status: "Active".to_owned(),
                    created_at: Some("2024-01-01T12:00:00Z".to_owned()),
                    labels: [("kubernetes.io/managed-by".to_owned(), "system".to_owned())].into(),
                    annotations: BTreeMap::new(),
                }],
            },
        })
    }

    fn authenticate(&self, request: &Authenticate) -> Result<Authenticated> {
        let principal = match &request.credential {
            CredentialProof::ApiKey { id, digest } => self.keys.lock().unwrap().get(&(*id, digest.clone())).cloned(),
            CredentialProof::Session { session_id, .. } => self.sessions.lock().unwrap().get(session_id).cloned(),
            CredentialProof::LegacyApiKey { .. } => None,
        };
        let principal = principal.ok_or_else(|| Error::of(Code::InvalidCredential))?;
        let mut assertion = request.cluster_id.map(|id| format!("signed.{id}.x"));
        if let Some(raise) = &request.raise {
            // As the user service does.
            let judged = roadstead_policy::judge(&principal, &raise.cluster, &raise.request, noon());
            judged.verdict.check(&principal)?;
            if let roadstead_policy::As::Raised(role) = judged.goes_as {
                assertion = Some(format!("raised.{}.x", role.as_str()));
            }
        }
        Ok(Authenticated { principal, expires_at: None, assertion })
    }

    fn page<T: Clone>(rows: Vec<T>, page: &PageRequest) -> Page<T> {
        let from = page.cursor.as_deref().map_or(page.offset, |cursor| cursor.parse().unwrap());
        let from = usize::try_from(from).unwrap();
        let total = rows.len();
        let items: Vec<T> = rows.into_iter().skip(from).take(page.limit as usize).collect();
        let next = from + items.len();
        Page { items, total: total as u64, next_cursor: (next < total).then(|| next.to_string()) }
    }
}

pub fn principal(user_id: UserId, seq: i64, name: &str, roles: &[Role], reach: Reach) -> Principal {
    Principal {
        user_id,
        user_seq: seq,
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        reach,
        credential: CredentialKind::QueuePeer(String::new()),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}

macro_rules! on {
    ($router:expr, $world:expr, $($message:ty => |$request:ident, $state:ident| $body:expr;)*) => {{
        let mut router = $router;
        $({
            let world = Arc::clone($world);
            router = router.on(move |$request: $message, _| {
                let $state = Arc::clone(&world);
                async move {
                    $state.note(&$request);
                    $body
                }
            });
        })*
        router
    }};
}

/// Answers what the user service answers.
pub async fn serve_user(bus: &Bus, world: &Arc<World>) {
    let auth = on!(Router::new(queue::CLUSTER_AUTH), world,
        Authenticate => |request, world| {
            // Long enough for callers that come together to meet.
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.authenticate(&request)
        };
    );
    bus.serve(auth, ServeOptions::default()).await.unwrap();
    let grants = on!(Router::new(queue::GRANT_CHANGE), world,
        GrantCluster => |request, world| grant(&world, request.cluster_id, &request.account);
        RevokeCluster => |request, world| grant(&world, request.cluster_id, &request.account);
    );
    bus.serve(grants, ServeOptions::default()).await.unwrap();
}

fn grant(world: &World, cluster_id: ClusterId, account: &str) -> Result<ClusterGrant> {
    let keys = world.keys.lock().unwrap();
    let found = keys.values().find(|principal| principal.username == account);
    let found = found.ok_or_else(|| Error::not_found("no such account"))?;
    Ok(ClusterGrant { cluster_id, user_id: found.user_id, username: found.username.clone() })
}

/// Answers what the onboarding service answers.
pub async fn serve_onboarding(bus: &Bus, world: &Arc<World>) {
    let look_ups = on!(Router::new(queue::CLUSTER_REGISTRY), world,
        ListClusters => |request, world| {
            let rows = world.clusters.lock().unwrap().iter().map(|(cluster, _)| cluster.clone())
                .filter(|cluster| request.principal.can_see(cluster.id, cluster.owner_id))
                .filter(|cluster| request.labels.0.iter().all(|(key, value)| cluster.labels.0.get(key) == Some(value)))
                .collect();
            Ok(World::page(rows, &request.page))
        };
        GetCluster => |request, world| world.find(&request.principal, &request.cluster);
        ResolveAgent => |request, world| world.resolve(&request.principal, &request.target);
        ListAgents => |request, world| {
            let rows = world.agents.lock().unwrap().iter()
                .filter(|(agent, owner)| agent.cluster_id.is_none_or(|id| request.principal.can_see(id, *owner)))
                .map(|(agent, _)| agent.clone())
                .filter(|agent| agent.connected || !request.connected_only)
                .collect();
            Ok(World::page(rows, &request.page))
        };
        ListJoinTokens => |request, world| {
            let rows = world.tokens.lock().unwrap().iter()
                .filter(|(_, _, owner)| *owner == request.principal.user_id)
                .map(|(token, ..)| token.clone())
                .collect();
            Ok(World::page(rows, &request.page))
        };
        CheckJoinToken => |request, world| {
            world.tokens.lock().unwrap().iter()
                .find(|(token, digest, _)| {
                    token.id == request.id && *digest == request.digest && token.revoked_at.is_none() && token.uses_left > 0
                })
                .map(|(token, ..)| token.clone())
                .ok_or_else(|| Error::of(Code::InvalidJoinToken))
        };
        ListSeedClusters => |request, world| {
            Ok(world.clusters.lock().unwrap().iter()
                .filter(|(cluster, _)| cluster.owner_id == Some(request.principal.user_id))
                .map(|(cluster, _)| seed_cluster(cluster.clone(), request.principal.user_seq, world.details(cluster.id)))
                .rev()
                .collect::<Vec<_>>())
        };
        GetSeedCluster => |request, world| {
            let cluster = world.find(&request.principal, &request.cluster)?;
            let details = world.details(cluster.id);
            Ok(seed_cluster(cluster, request.principal.user_seq, details))
        };
        CountClusters => |request, world| {
            let _: CountClusters = request;
            let count = world.clusters.lock().unwrap().len() as u64;
            Ok(vec![ClusterCount { mode: ClusterMode::Agent, status: ClusterStatus::Connected, count }])
        };
    );
    bus.serve(look_ups, ServeOptions::default()).await.unwrap();
    bus.serve(changes(world), ServeOptions::default()).await.unwrap();
    let namespaces = on!(Router::new(queue::CLUSTER_NAMESPACE), world,
        GetNamespaces => |request, world| world.namespaces(&request).await;
        AskSeedAgent => |request, world| match *world.agent.lock().unwrap() {
            AgentMood::Broken => Err(Error::new(Code::AgentError, "Unknown command.")),
            _ => Ok(serde_json::to_value(&request.view).unwrap()),
        };
    );
    bus.serve(namespaces, ServeOptions::default()).await.unwrap();
}

fn changes(world: &Arc<World>) -> Router {
    on!(Router::new(queue::CLUSTER_REGISTRY_CHANGE), world,
        CreateCluster => |request, world| {
            if world.clusters.lock().unwrap().iter().any(|(cluster, _)| cluster.name == request.name) {
                return Err(Error::new(Code::Conflict, format!("a cluster named {} exists", request.name)));
            }
            let mut cluster = world.add_cluster(request.name.as_str(), request.principal.user_id);
            let mut clusters = world.clusters.lock().unwrap();
            let (stored, _) = clusters.last_mut().unwrap();
            stored.description = request.description;
            stored.labels = request.labels;
            cluster.clone_from(stored);
            drop(clusters);
            if let Some(token) = request.join_token {
                store_token(&world, token, Some(&cluster), request.principal.user_id);
            }
            Ok(cluster)
        };
        UpdateCluster => |request, world| {
            let found = world.find(&request.principal, &request.cluster)?;
            let mut clusters = world.clusters.lock().unwrap();
            let (cluster, _) = clusters.iter_mut().find(|(cluster, _)| cluster.id == found.id).unwrap();
            if let Some(name) = request.name { cluster.name = name; }
            if let Some(text) = request.description { cluster.description = text; }
            if let Some(labels) = request.labels { cluster.labels = labels; }
            Ok(cluster.clone())
        };
        DeleteCluster => |request, world| {
            let found = world.find(&request.principal, &request.cluster)?;
            world.clusters.lock().unwrap().retain(|(cluster, _)| cluster.id != found.id);
            Ok(found)
        };
        CreateJoinToken => |request, world| {
            let cluster = request.cluster.as_deref().map(|name| world.find(&request.principal, name)).transpose()?;
            Ok(store_token(&world, request.token, cluster.as_ref(), request.principal.user_id))
        };
        RevokeJoinToken => |request, world| {
            let mut tokens = world.tokens.lock().unwrap();
            let found = tokens.iter_mut().find(|(token, _, owner)| token.id == request.id && *owner == request.principal.user_id);
            let (token, ..) = found.ok_or_else(|| Error::not_found("no such token"))?;
            token.revoked_at = Some(noon());
            Ok(token.clone())
        };
        RevokeAgent => |request, world| {
            let target = AgentTarget::Agent(request.agent_id.clone());
            let mut agent = world.resolve(&request.principal, &target)?;
            agent.revoked = true;
            Ok(agent)
        };
        GenerateAgentId => |request, world| {
            let cluster = request.cluster_seq.map(|seq| world.find(&request.principal, &seq.to_string())).transpose()?;
            let agent = Agent {
                agent_id: world.ids.next::<AgentId>().to_string(),
                cluster_id: cluster.as_ref().map(|cluster| cluster.id),
                cluster_seq: cluster.as_ref().map(|cluster| cluster.seq),
                cluster: cluster.as_ref().map(Cluster::policy_facts),
                cluster_name: cluster.map(|cluster| cluster.name),
                connected: false,
                revoked: false,
                version: None,
                last_seen_at: None,
                created_at: noon(),
                commands_only: true,
            };
            world.agents.lock().unwrap().push((agent.clone(), Some(request.principal.user_id)));
            Ok(agent)
        };
        OnboardSeedCluster => |request, world| {
            world.resolve(&request.principal, &AgentTarget::Agent(request.agent_id.clone()))?;
            if world.clusters.lock().unwrap().iter().any(|(cluster, _)| cluster.name == request.name) {
                return Err(Code::Conflict.into());
            }
            let cluster = world.add_cluster(request.name.as_str(), request.principal.user_id);
            Ok(seed_cluster(cluster, request.principal.user_seq, request.details))
        };
    )
}

fn seed_cluster(cluster: Cluster, owner_seq: i64, details: SeedClusterDetails) -> SeedCluster {
    SeedCluster { cluster, owner_seq, details }
}

fn store_token(world: &World, new: NewJoinToken, cluster: Option<&Cluster>, owner: UserId) -> JoinToken {
    let token = JoinToken {
        id: new.id,
        cluster_id: cluster.map(|cluster| cluster.id),
        cluster_name: cluster.map(|cluster| cluster.name.clone()),
        labels: new.labels,
        namespaces: new.namespaces.clone(),
        profile: new.profile,
        uses_left: new.uses,
        expires_at: noon() + chrono::Duration::seconds(i64::from(new.lifetime_seconds)),
        revoked_at: None,
        created_at: noon(),
    };
    world.tokens.lock().unwrap().push((token.clone(), new.digest, owner));
    let _: JoinTokenId = token.id;
    token
}
