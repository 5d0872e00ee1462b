"""Steady: an open loop at one mean rate of users x --rate requests per second."""

from loadtest.harness import Scenario, install
from loadtest.users import GameServer


class SteadyServer(GameServer):
    """The default game server."""


class Steady(Scenario):
    name = "steady"


install(Steady())
