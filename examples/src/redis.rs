//! Cache stores that several processes share.

use tower_cache::redis::RedisStore;

/// The store at this address: `redis://HOST:PORT`, or several of them with commas between for a cluster.
///
/// # Errors
///
/// Says what is wrong with the address. Whether there is a server shows later: until then nothing is cached.
pub fn store(address: &str) -> Result<RedisStore, String> {
    let nodes: Vec<&str> = address.split(',').collect();
    let store = match nodes[..] {
        [server] => RedisStore::new(server),
        _ => RedisStore::cluster(nodes).and_then(tower_cache::redis::RedisStoreBuilder::build),
    };
    store.map_err(|error| error.to_string())
}
