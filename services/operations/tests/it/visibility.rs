//! Whose operations exist for whom.

use std::collections::BTreeSet;

use roadstead_contracts::Code;
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::message::*;

use crate::rig::{admin, cluster, create, principal, rig};

#[tokio::test(flavor = "multi_thread")]
async fn others_operations_are_not_found() {
    let rig = rig().await;
    let owner = principal(5, Role::Operator, Reach::Granted(BTreeSet::new()));
    rig.world.owners.lock().unwrap().insert(cluster(1), owner.user_id);
    let made = rig.create(|create| create.principal = owner.clone(), 1).await.unwrap();
    let granted = principal(6, Role::Viewer, Reach::Granted(BTreeSet::from([cluster(1)])));
    let stranger = principal(7, Role::Operator, Reach::Granted(BTreeSet::from([cluster(2)])));
    let mut bound = admin();
    bound.scope = serde_json::from_value(serde_json::json!({"clusters": [cluster(2)]})).unwrap();
    let get = |principal: &Principal| GetOperation { principal: principal.clone(), id: made.id };
    let list = |principal: &Principal| ListOperations {
        principal: principal.clone(),
        cluster_id: None,
        states: Vec::new(),
        kind: None,
        rollout_id: None,
        page: PageRequest { limit: 10, offset: 0, cursor: None },
    };
    for (who, sees) in [(&owner, true), (&granted, true), (&admin(), true), (&stranger, false), (&bound, false)] {
        let got = rig.ask(&get(who)).await;
        assert_eq!(got.is_ok(), sees, "{}", who.username);
        assert!(got.is_ok() || got.unwrap_err().code == Code::NotFound);
        assert_eq!(rig.ask(&list(who)).await.unwrap().total, u64::from(sees), "{}", who.username);
    }
    let cancel =
        |principal: &Principal| CancelOperation { principal: principal.clone(), id: made.id, reason: String::new() };
    assert_eq!(rig.ask(&cancel(&stranger)).await.unwrap_err().code, Code::NotFound);
    assert_eq!(rig.ask(&cancel(&granted)).await.unwrap_err().code, Code::Forbidden);
    let undo = UndoOperation { principal: stranger.clone(), id: made.id, force: false, idempotency_key: None };
    assert_eq!(rig.ask(&undo).await.unwrap_err().code, Code::NotFound);
    let mut into = create(stranger, cluster(1));
    into.body_sha256 = Some(rig.stage("x\n").await);
    assert_eq!(rig.ask(&into).await.unwrap_err().code, Code::NotFound);
    into.principal = granted;
    assert_eq!(rig.ask(&into).await.unwrap_err().code, Code::Forbidden);
    rig.stop().await;
}
