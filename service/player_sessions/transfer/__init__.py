"""Files of events in and out: JSON Lines, restartable."""
