//! What the server does in one step. Each script touches keys of one hash slot, all of them named.

use std::sync::LazyLock;

use redis::Script;

/// The generation of a URI, made where there is none. Keys: generation. Arguments: a new one (8 octets), its time to
/// live.
pub(super) static GENERATION: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local g = redis.pcall('GET', KEYS[1])
        if type(g) == 'string' and #g == 8 then return g end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return ARGV[1]",
    )
});

/// Stores a variant, unless the URI has been purged since its generation was read. Keys: generation, record. Arguments:
/// generation, field, value, time to live, most variants, version. Returns what need not be kept any longer: the ends
/// of fronts.
pub(super) static COMMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local g = redis.pcall('GET', KEYS[1])
        if type(g) ~= 'string' or string.sub(g, 1, 4) ~= string.sub(ARGV[1], 1, 4) then return {string.sub(ARGV[3], 26, 37)} end
        if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then redis.call('DEL', KEYS[2]) end
        local gone, own = {}, string.sub(ARGV[3], 26, 37)
        local old = redis.call('HGET', KEYS[2], ARGV[2])
        if old and string.sub(old, 26, 37) ~= own then gone[#gone + 1] = string.sub(old, 26, 37) end
        redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
        if redis.call('HLEN', KEYS[2]) > 1 then
            local all, kept = redis.call('HGETALL', KEYS[2]), {}
            for i = 1, #all, 2 do
                local v = all[i + 1]
                if all[i] ~= ARGV[2] then
                    if string.sub(v, 1, 1) ~= ARGV[6] or string.sub(v, 2, 5) ~= string.sub(g, 1, 4) then
                        redis.call('HDEL', KEYS[2], all[i])
                        gone[#gone + 1] = string.sub(v, 26, 37)
                    else
                        kept[#kept + 1] = {all[i], string.sub(v, 18, 25), string.sub(v, 26, 37)}
                    end
                end
            end
            table.sort(kept, function(a, b) return a[2] > b[2] end)
            for i = tonumber(ARGV[5]), #kept do
                redis.call('HDEL', KEYS[2], kept[i][1])
                gone[#gone + 1] = kept[i][3]
            end
        end
        local ttl = tonumber(ARGV[4])
        if redis.call('PTTL', KEYS[2]) < ttl then redis.call('PEXPIRE', KEYS[2], ttl) end
        if redis.call('PTTL', KEYS[1]) < ttl + 600000 then redis.call('PEXPIRE', KEYS[1], ttl + 600000) end
        return gone",
    )
});

/// Begins a new generation of a URI. Keys: generation, record without partition. Arguments: two halves of a
/// generation, whether it is soft, time to live. Returns the same as `COMMIT`.
pub(super) static PURGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local g = redis.pcall('GET', KEYS[1])
        local hard = ARGV[1]
        if ARGV[3] == '1' and type(g) == 'string' and #g == 8 then hard = string.sub(g, 1, 4) end
        redis.call('SET', KEYS[1], hard .. ARGV[2], 'PX', ARGV[4])
        if ARGV[3] == '1' then return {} end
        local gone, all = {}, redis.pcall('HVALS', KEYS[2])
        if all.err == nil then
            for i = 1, #all do gone[i] = string.sub(all[i], 26, 37) end
        end
        redis.call('UNLINK', KEYS[2])
        return gone",
    )
});

/// Counts on, and notes a purge that is not of one URI. Keys: log. Arguments: field, or nothing to count only; an epoch
/// for a log that begins; most entries. Returns epoch and count. With too many entries the older half becomes one: all
/// that is older is purged.
pub(super) static LOG: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
        local e = redis.call('HGET', KEYS[1], 'e')
        local c = e and #e == 4 and redis.pcall('HINCRBY', KEYS[1], 'c', 1)
        if type(c) ~= 'number' then
            redis.call('DEL', KEYS[1])
            e = ARGV[2]
            redis.call('HSET', KEYS[1], 'e', e)
            c = redis.call('HINCRBY', KEYS[1], 'c', 1)
        end
        if ARGV[1] ~= '' then
            redis.call('HSET', KEYS[1], ARGV[1], c, 'v', c)
            if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
                local all, entries = redis.call('HGETALL', KEYS[1]), {}
                for i = 1, #all, 2 do
                    local kind = string.sub(all[i], 1, 1)
                    if kind == 'h' or kind == 's' then entries[#entries + 1] = {all[i], tonumber(all[i + 1]) or c} end
                end
                table.sort(entries, function(a, b) return a[2] < b[2] end)
                local half = math.floor(#entries / 2)
                for i = 1, half do redis.call('HDEL', KEYS[1], entries[i][1]) end
                local floor = tonumber(redis.call('HGET', KEYS[1], 'h') or 0)
                redis.call('HSET', KEYS[1], 'h', math.max(floor, entries[half][2]))
            end
        end
        return {e, c}",
    )
});

/// Keeps the generation of a tag at least as long as what has it. Keys: tag. Arguments: a generation that begins (12
/// octets), time to live.
pub(super) static TAG: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local t = redis.pcall('GET', KEYS[1])
        if type(t) ~= 'string' or #t ~= 12 or string.sub(t, 1, 4) ~= string.sub(ARGV[1], 1, 4) then
            redis.call('SET', KEYS[1], ARGV[1])
        end
        if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        return 1",
    )
});

/// Begins a new generation of a tag. Keys: tag. Arguments: epoch and count (8 octets), whether it is soft, time to live.
pub(super) static PURGE_TAG: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local t = redis.pcall('GET', KEYS[1])
        local epoch, count = string.sub(ARGV[1], 1, 4), string.sub(ARGV[1], 5, 8)
        local hard, soft = '\0\0\0\0', '\0\0\0\0'
        if type(t) == 'string' and #t == 12 and string.sub(t, 1, 4) == epoch then
            hard, soft = string.sub(t, 5, 8), string.sub(t, 9, 12)
        end
        if ARGV[2] == '1' then
            if soft < count then soft = count end
        elseif hard < count then
            hard = count
        end
        redis.call('SET', KEYS[1], epoch .. hard .. soft, 'PX', ARGV[3])
        return 1",
    )
});

/// The right to fetch. Keys: lock, record. Arguments: a name for this holder, time to live. Returns 0 when another
/// holds it, 1 when this one does and nothing is stored, 2 when it does and something is, 3 when nobody is to wait.
pub(super) static LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local l = redis.pcall('GET', KEYS[1])
        if type(l) == 'string' then
            if l == '-' then return 3 end
            return 0
        end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return 1 + redis.call('EXISTS', KEYS[2])",
    )
});

/// Holds it longer. Keys: lock. Arguments: the holder, time to live.
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        return 0",
    )
});

/// Gives it back. Keys: lock. Arguments: the holder, for how long nobody is to wait afterwards.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
        redis.call('SET', KEYS[1], '-', 'PX', ARGV[2])
        return 1",
    )
});
