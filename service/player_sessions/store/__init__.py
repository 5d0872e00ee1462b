"""Cassandra: the only room that knows its driver. The room's door is `store.store`."""
