//! Lists whose rows are long.

use std::collections::BTreeSet;

use roadstead_contracts::message::{ListOperations, PageRequest};
use roadstead_contracts::operation::Work;

use crate::rig::{admin, cluster, rig};

/// A page of long commands was more than a message holds, and no page at all.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_page_is_as_long_as_a_message_holds() {
    const ROWS: usize = 40;
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    for _ in 0..ROWS {
        let command = vec!["x".repeat(40 * 1024)];
        let work = Work::Exec { namespace: "n".to_owned(), pod: "p".to_owned(), container: None, command };
        let exec = |create: &mut roadstead_contracts::message::CreateOperation| {
            create.work = work;
            create.body_sha256 = None;
        };
        rig.create(exec, 1).await.unwrap();
    }
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let request = ListOperations {
            principal: admin(),
            cluster_id: None,
            states: Vec::new(),
            kind: None,
            rollout_id: None,
            page: PageRequest { limit: 1_000, offset: 0, cursor },
        };
        let page = rig.ask(&request).await.unwrap();
        assert_eq!(page.total, ROWS as u64);
        assert!(!page.items.is_empty() && page.items.len() < ROWS);
        seen.extend(page.items.into_iter().map(|operation| operation.id));
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), ROWS, "in {pages} pages");
    rig.stop().await;
}
