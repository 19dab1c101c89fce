//! How queues are declared.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use roadstead_contracts::queue::EVENTS_EXCHANGE;

use super::codec::short;
use crate::message::DELIVERIES_MAX;
use crate::transport::{Shape, Subscription};

/// Most messages that wait in a queue of ours; beyond it the broker refuses, which the sender sees. At 7,000 requests a
/// second, which a broker on two cores answers, more could not be answered within any deadline.
const QUEUE_MAX: i32 = 100_000;
/// Most dead letters of a queue; the oldest go first.
const DEAD_MAX: i32 = 10_000;
/// Dead letters are kept this long: a week, for somebody to look.
const DEAD_LIFE_MILLISECONDS: i32 = 7 * 24 * 60 * 60 * 1000;

/// The exchange of events.
pub(super) async fn declare_events(channel: &Channel) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(short(EVENTS_EXCHANGE), ExchangeKind::Topic, durable, FieldTable::default()).await
}

/// Everything a subscription names, under the name it is read by. The error comes with the queue it is about.
pub(super) async fn declare(
    channel: &Channel,
    subscription: &Subscription,
    name: &str,
) -> Result<(), (lapin::Error, String)> {
    if let Some(dead) = &subscription.dead {
        declare_queue(channel, dead, Shape::Dead, None).await?;
    }
    if let Some(results) = &subscription.results {
        declare_queue(channel, results, Shape::Seed, None).await?;
    }
    declare_queue(channel, name, subscription.shape, subscription.dead.as_deref()).await?;
    if !subscription.patterns.is_empty() {
        declare_events(channel).await.map_err(|fault| (fault, name.to_owned()))?;
    }
    for pattern in &subscription.patterns {
        let bind = channel.queue_bind(
            short(name),
            short(EVENTS_EXCHANGE),
            short(pattern),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bind.await.map_err(|fault| (fault, name.to_owned()))?;
    }
    Ok(())
}

async fn declare_queue(
    channel: &Channel,
    name: &str,
    shape: Shape,
    dead: Option<&str>,
) -> Result<(), (lapin::Error, String)> {
    let own = matches!(shape, Shape::Own | Shape::Fresh);
    let options =
        QueueDeclareOptions { durable: !own, exclusive: own, auto_delete: own, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(short(name), options, arguments(shape, dead)).await;
    declared.map(drop).map_err(|fault| (fault, name.to_owned()))
}

fn arguments(shape: Shape, dead: Option<&str>) -> FieldTable {
    let mut table = FieldTable::default();
    let mut set = |name: &str, value: AMQPValue| {
        table.insert(short(name), value);
    };
    let text = |text: &str| AMQPValue::LongString(text.into());
    match shape {
        // The seeds' peers declare these too: one argument more and either side gets PRECONDITION_FAILED.
        Shape::Seed => return FieldTable::default(),
        Shape::Dead => {
            set("x-max-length", AMQPValue::LongInt(DEAD_MAX));
            set("x-message-ttl", AMQPValue::LongInt(DEAD_LIFE_MILLISECONDS));
            return table;
        }
        Shape::Lookup | Shape::Own | Shape::Fresh => {}
        Shape::Change => {
            set("x-queue-type", text("quorum"));
            set("x-delivery-limit", AMQPValue::LongInt(i32::try_from(DELIVERIES_MAX).unwrap_or(i32::MAX)));
        }
    }
    set("x-max-length", AMQPValue::LongInt(QUEUE_MAX));
    set("x-overflow", text("reject-publish"));
    if let Some(dead) = dead {
        set("x-dead-letter-exchange", text(""));
        set("x-dead-letter-routing-key", text(dead));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(table: &FieldTable) -> Vec<&str> {
        table.inner().keys().map(lapin::types::ShortString::as_str).collect()
    }

    #[test]
    fn the_seeds_queues_carry_no_argument() {
        assert!(names(&arguments(Shape::Seed, Some("q.dead"))).is_empty());
        assert!(names(&arguments(Shape::Change, Some("q.dead"))).contains(&"x-delivery-limit"));
        assert!(names(&arguments(Shape::Lookup, Some("q.dead"))).contains(&"x-dead-letter-routing-key"));
    }
}
