from uuid import uuid4

from tests.support import Server, end, now_ms, start


def test_whole_session(server: Server) -> None:
    p, s, t = uuid4(), uuid4(), now_ms()
    assert server.post(start(p, s, t - 5000), end(p, s, t)).json() == {
        "accepted": 2,
        "discarded": 0,
    }
    assert len(server.sessions(p)) == 1
