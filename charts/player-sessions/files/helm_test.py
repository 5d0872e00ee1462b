"""`helm test`: post a session through the Service and read it back."""

import json
import os
import sys
import time
import uuid
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL, KEY = os.environ["URL"], os.environ.get("KEY", "")
# A NetworkPolicy lets a new pod through only after a second or two.
GIVE_UP = time.monotonic() + float(os.environ.get("RETRY_SECONDS", "30"))


def call(path, body=None):
    """Return the answer; try again where nobody answers, or where the answer is 5xx."""
    while True:
        try:
            return send(path, body)
        except HTTPError as error:
            hint = (
                "; the keys' Secret needs an entry `key`" if error.code == 401 and not KEY else ""
            )
            reason = f"{error.code} {error.read().decode()}{hint}"
            if error.code < 500:
                sys.exit(f"{path}: {reason}")
        except OSError as error:  # a connection that is refused, or no answer in time
            reason = str(error)
        if time.monotonic() > GIVE_UP:
            sys.exit(f"{URL}{path}: {reason}")
        print(f"{URL}{path}: {reason}; trying again", file=sys.stderr)
        time.sleep(1)


def send(path, body):
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = Request(URL + path, body and json.dumps(body).encode(), headers)
    with urlopen(request, timeout=5) as answer:
        return json.load(answer)


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


player, session = uuid.uuid4().hex, str(uuid.uuid4())
event = {"player_id": player, "session_id": session}
start = {**event, "event": "start", "ts": stamp(60), "country": "FI"}
end = {**event, "event": "end", "ts": stamp(0)}
assert call("/v1/events", {"events": [start, end]}) == {"accepted": 2, "discarded": 0}
found = call(f"/v1/players/{player}/sessions")["sessions"]
assert [each["session_id"] for each in found] == [session], found
print(f"stored and read back: {found[0]}")
