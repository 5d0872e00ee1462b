"""Open loop at one mean rate: users x --rate requests per second, for --run-time."""

from loadtest.harness import Scenario, install
from loadtest.users import GameServer


class SteadyServer(GameServer):
    """The default."""


class Steady(Scenario):
    name = "steady"


install(Steady())
