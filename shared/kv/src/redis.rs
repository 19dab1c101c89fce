//! The store of the mesh.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::{Client, ClientTlsConfig, Cmd, FromRedisValue, RedisError, Script, TlsCertificates, cmd};
use deadpool_redis::{Connection, Manager, Pool, Runtime, Timeouts};
use roadstead_runtime::Secret;
use roadstead_runtime::client_tls::{ClientTls, explain};

use crate::quota::{Quota, Taken, outcome};
use crate::{Error, Kv, Result, check};

/// Connections: commands are short, a few connections carry tens of thousands a second.
const CONNECTIONS: usize = 8;
/// Longest wait for a connection, and longest command. Callers fall back when it is over, so it is short.
const TIMEOUT: Duration = Duration::from_millis(1_000);

/// The sum of [`crate::quota::take`], by the server's clock. Garbage counts as nothing. `%.0f`: Lua would write a time as
/// `1.7e+15`.
const TAKE: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, tolerance, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kind = redis.call('TYPE', KEYS[1]).ok
local before = now
if kind == 'string' then before = tonumber(redis.call('GET', KEYS[1])) or now
elseif kind ~= 'none' then redis.call('DEL', KEYS[1]) end
if before ~= before or before < now then before = now end
if before > now + tolerance then before = now + tolerance end
local after = before + interval * cost
local over = after - tolerance - now
local allowed, kept = 0, before
if over <= 0 then allowed, kept = 1, after end
if kept > now then
  redis.call('SET', KEYS[1], string.format('%.0f', kept), 'PX', math.ceil((kept - now) / 1000))
end
return {allowed, string.format('%.0f', kept - now), string.format('%.0f', over)}
";

/// Values in Redis.
#[derive(Clone)]
pub struct RedisKv {
    pool: Pool,
    take: Script,
}

impl std::fmt::Debug for RedisKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisKv")
    }
}

impl RedisKv {
    /// A store at `redis://…`. Connects when first used, so a server that is away is a matter of readiness.
    pub fn open(url: &Secret) -> Result<Self> {
        Self::with_connections(url, CONNECTIONS)
    }

    /// The same with a pool of another size.
    pub fn with_connections(url: &Secret, connections: usize) -> Result<Self> {
        Self::with_tls(url, ClientTls::default(), connections)
    }

    /// At `rediss://…`: with whom to trust and what to show. Anything that is set refuses an address without TLS.
    pub fn with_tls(url: &Secret, tls: ClientTls, connections: usize) -> Result<Self> {
        // The parser's own message may quote the URL, password and all.
        let client = if tls.is_set() {
            Client::build_with_tls(url.expose(), certificates(tls)).map_err(|_| Error::Tls)?
        } else {
            Client::open(url.expose()).map_err(|_| Error::Address)?
        };
        let manager = Manager::new(client.get_connection_info().clone()).map_err(|_| Error::Address)?;
        let timeouts = Timeouts { wait: Some(TIMEOUT), create: Some(TIMEOUT), recycle: Some(TIMEOUT) };
        let pool = Pool::builder(manager)
            .max_size(connections.max(1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| Error::Address)?;
        Ok(Self { pool, take: Script::new(TAKE) })
    }

    async fn connection(&self) -> Result<Connection> {
        self.pool.get().await.map_err(|fault| unavailable(&fault))
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.connection().await?;
        within(command.query_async(&mut connection)).await
    }
}

fn certificates(tls: ClientTls) -> TlsCertificates {
    let client_tls = tls.identity.map(|identity| ClientTlsConfig {
        client_cert: identity.chain_pem.into_bytes(),
        client_key: identity.key_pem.expose().as_bytes().to_vec(),
    });
    TlsCertificates { client_tls, root_cert: tls.ca_pem.map(String::into_bytes) }
}

fn unavailable(fault: &dyn std::error::Error) -> Error {
    let text = fault.to_string();
    Error::Unavailable(match explain(&text) {
        Some(why) => format!("no TLS with Redis: {why}"),
        None => text,
    })
}

async fn within<T>(asked: impl Future<Output = std::result::Result<T, RedisError>>) -> Result<T> {
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|fault| unavailable(&fault)),
        Err(_) => Err(Error::Unavailable("no answer in time".to_owned())),
    }
}

fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Cmd {
    let mut command = cmd("SET");
    command.arg(key).arg(value);
    if let Some(ttl) = ttl {
        command.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX >> 16).max(1));
    }
    command
}

#[async_trait]
impl Kv for RedisKv {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check(key, &[])?;
        self.ask(cmd("GET").arg(key)).await
    }

    async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<()> {
        check(key, value)?;
        self.ask(&set(key, value, ttl)).await
    }

    async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool> {
        check(key, value)?;
        let answer: Option<String> = self.ask(set(key, value, ttl).arg("NX")).await?;
        Ok(answer.is_some())
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        check(key, &[])?;
        let removed: u64 = self.ask(cmd("DEL").arg(key)).await?;
        Ok(removed > 0)
    }

    async fn take(&self, key: &str, quota: Quota, cost: u32) -> Result<Taken> {
        check(key, &[])?;
        let mut connection = self.connection().await?;
        let tolerance = quota.interval().saturating_mul(i64::from(quota.capacity()));
        let mut asked = self.take.key(key);
        asked.arg(quota.interval()).arg(tolerance).arg(cost);
        let (allowed, full_in, over): (u8, i64, i64) = within(asked.invoke_async(&mut connection)).await?;
        Ok(outcome(allowed == 1, full_in, over, quota))
    }

    async fn ping(&self) -> Result<()> {
        let _: String = self.ask(&cmd("PING")).await?;
        Ok(())
    }
}
