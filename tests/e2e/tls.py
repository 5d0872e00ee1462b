"""TLS to Cassandra: switched on, refused for a wrong authority, and renewed, all under load.

A renewal here changes the authority as well. So the service can log in to the restarted node only
with the new files.
"""

from __future__ import annotations

import base64
import json
import time

import trustme

from tests.e2e.certificates import NAME, SECRET, give_certificates
from tests.e2e.playground import RELEASE, Failed, expect
from tests.e2e.steps import Run

SEEN_SECONDS = 150
VALUES = (
    "cassandra.tls.enabled=true",
    f"cassandra.tls.existingSecret={SECRET}",
    "cassandra.tls.clientCertificate=true",
    f"cassandra.tls.serverName={NAME}",
)
CA = ("--", "python", "-c", "print(open('/etc/player-sessions/tls/ca.crt').read())")
READY = """
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://127.0.0.1:9090/health/ready").read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def tls(run: Run) -> str:
    """Switch TLS on: the service's connections to Cassandra must then be encrypted."""
    with run.under_load() as report:
        run.upgrade(*VALUES)
        run.rolled_out()
    encrypted = run.until(lambda: all_encrypted(run), "all connections of the role are encrypted")
    return f"{encrypted} connections, all encrypted; {report[0]}"


def all_encrypted(run: Run) -> int:
    """Return the number of the role's connections if all are encrypted, else 0."""
    clients = run.cql("SELECT username, ssl_enabled FROM system_views.clients")
    ours = [encrypted for name, encrypted in clients if name == "player_sessions"]
    return len(ours) if all(ours) else 0


def wrong_authority(run: Run) -> str:
    """Trust an authority that did not sign the node's certificate, then the right one again.

    New pods say why they are not ready, and become ready without a restart once the Secret is
    right. The old pods go on serving.
    """
    right = run.kubectl("get", "secret", SECRET, "--output=jsonpath={.data.ca\\.crt}")
    wrong = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    old = {pod["metadata"]["name"] for pod in run.pods()}
    with run.under_load() as report:
        trust(run, wrong)
        job = failure_of_the_job(run)
        run.kubectl("rollout", "restart", f"deployment/{RELEASE}")
        pod = run.until(lambda: unready(run, old), "a new pod says that it refuses the node")
        reason = readiness(run, pod)
        log = run.kubectl("logs", pod)
        trust(run, right)
        run.rolled_out()
    expect("certificate verify failed" in job, f"the Job said: {job}")
    expect("certificate verify failed" in reason, f"readiness says: {reason}")
    expect("certificate verify failed" in log, f"the log of {pod} does not name the reason")
    restarts = [each["status"]["containerStatuses"][0]["restartCount"] for each in run.pods()]
    expect(not any(restarts), f"restarts: {restarts}")
    expect(pod in {each["metadata"]["name"] for each in run.pods()}, f"{pod} was replaced")
    return f"Job, log and readiness name the reason; ready without a restart; {report[0]}"


def trust(run: Run, certificate: str) -> None:
    patch = json.dumps({"data": {"ca.crt": certificate}})
    run.kubectl("patch", "secret", SECRET, "--patch", patch)
    hurry(run)


def hurry(run: Run) -> None:
    """Change the pods, so that the kubelet writes changed Secrets at once, not a minute later."""
    selector = "--selector=app.kubernetes.io/component=service"
    run.kubectl("annotate", "pods", selector, "--overwrite", f"e2e={time.time()}")


def failure_of_the_job(run: Run) -> str:
    """Upgrade, which must fail; return what the schema Job said."""
    try:
        run.upgrade("schema.waitSeconds=5")
    except Failed:
        return run.job_log()[-1]
    raise Failed("the schema Job accepted a wrong authority")


def unready(run: Run, old: set[str]) -> str | None:
    """Return the name of a new pod that has tried to connect."""
    for pod in run.pods():
        name: str = pod["metadata"]["name"]
        running = pod["status"].get("containerStatuses", [{}])[0].get("started")
        if name not in old and running and "certificate" in readiness(run, name):
            return name
    return None


def readiness(run: Run, pod: str) -> str:
    answer = json.loads(run.kubectl("exec", pod, "--", "python", "-c", READY))
    return str(answer.get("reason", answer))


def renewed_certificates(run: Run) -> str:
    """Replace all certificates; every pod has the new files, and no request fails."""
    pods = sorted(pod["metadata"]["name"] for pod in run.pods())
    began = time.monotonic()
    with run.under_load() as report:
        authority = give_certificates(run).cert_pem.bytes().decode().strip()
        hurry(run)
        run.until(
            lambda: all(authority in run.kubectl("exec", pod, *CA) for pod in pods),
            "the new Secret is in every pod",
            SEEN_SECONDS,
        )
    took = time.monotonic() - began
    return f"in every pod after {took:.0f} s; {report[0]}; the next step connects with them"
