"""player-sessions: start and end events in, the last 20 complete sessions of a player out."""

__version__ = "0.1.0"
