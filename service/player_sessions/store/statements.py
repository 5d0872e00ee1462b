"""The CQL of every statement that the service prepares, by name."""

from __future__ import annotations

# {0} is the keyspace.
CQL = {
    "start": "INSERT INTO {0}.session_starts (player_id, started_at, session_id, country, latest)"
    " VALUES (?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?",
    "starts_of_hour": "INSERT INTO {0}.starts_by_hour (hour, shard, group_commit, start_keys)"
    " VALUES (?, ?, ?, ?) USING TTL ?",
    "end": "INSERT INTO {0}.session_ends (player_id, ended_at, session_id)"
    " VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?",
    "first_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND (ended_at) > (?) LIMIT ?",
    "next_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND (ended_at) > (?) AND (ended_at, session_id) < (?, ?) LIMIT ?",
    "starts": "SELECT session_id, started_at, country FROM {0}.session_starts"
    " WHERE player_id = ? AND session_id IN ?",
    "erase_starts": "DELETE FROM {0}.session_starts USING TIMESTAMP ? WHERE player_id = ?",
    "erase_ends": "DELETE FROM {0}.session_ends USING TIMESTAMP ? WHERE player_id = ?",
    "start_of_session": "SELECT started_at, country FROM {0}.session_starts"
    " WHERE player_id = ? AND session_id = ?",
    # All rows have the same `latest`. Where ids begin with a time, the last one is the newest, so
    # that no expired row has to be passed.
    "latest": "SELECT latest FROM {0}.session_starts WHERE player_id = ?"
    " ORDER BY session_id DESC LIMIT 1",
    # Filters within one partition, and stops at the first row, which is the newest end.
    "end_of_session": "SELECT ended_at FROM {0}.session_ends"
    " WHERE player_id = ? AND ended_at > ? AND session_id = ? LIMIT 1 ALLOW FILTERING",
    # Filters within one partition, and only for pages after the first.
    "newer_ends": "SELECT ended_at, session_id FROM {0}.session_ends"
    " WHERE player_id = ? AND ended_at >= ? AND session_id IN ? ALLOW FILTERING",
    "shards": "SELECT shard FROM {0}.starts_by_hour WHERE hour = ? AND shard IN ?"
    " PER PARTITION LIMIT 1",
    "start_keys": "SELECT group_commit, start_keys FROM {0}.starts_by_hour"
    " WHERE hour = ? AND shard = ? AND group_commit > ? LIMIT ?",
    "kept_counts": "SELECT country, starts, counted_at, TTL(starts) FROM {0}.start_counts"
    " WHERE hour = ?",
    "keep_count": "INSERT INTO {0}.start_counts (hour, country, starts, counted_at)"
    " VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?",
}
