//! Cache stores that several processes share.

use tower_cache::redis::RedisStore;

/// The store at this address: `redis://HOST:PORT`, or several of them with commas between for a cluster. Processes that
/// give it the same name share what is in it.
///
/// # Errors
///
/// Says what is wrong with the address. Whether there is a server shows later: until then nothing is cached.
pub fn store(address: &str, name: &str) -> Result<RedisStore, String> {
    let nodes: Vec<&str> = address.split(',').collect();
    let store = match nodes[..] {
        [server] => RedisStore::builder(server),
        _ => RedisStore::cluster(nodes),
    };
    let store = store.and_then(|store| store.namespace(name).build());
    store.map_err(|error| error.to_string())
}
