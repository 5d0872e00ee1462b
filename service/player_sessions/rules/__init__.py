"""The rules of events and sessions: pure functions, without I/O, clocks or libraries of the web."""
