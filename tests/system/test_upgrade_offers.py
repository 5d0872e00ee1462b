"""Clients that offer HTTP/2 by `Upgrade`, such as Java's and curl, are served like all others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from dev.game_events import end, now_ms, start
from dev.service import Service

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

class Post {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        byte[] body = Files.readAllBytes(Path.of(args[1]));
        HttpRequest.BodyPublisher[] publishers = {
            HttpRequest.BodyPublishers.ofByteArray(body),
            HttpRequest.BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(body)),
        };
        for (HttpRequest.BodyPublisher publisher : publishers) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("Content-Type", "application/json").POST(publisher).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Return a file with a batch of two events."""
    player, session, now = uuid4(), uuid4(), now_ms()
    file = tmp_path / "batch.json"
    events = [start(player, session, now - 1000), end(player, session, now)]
    file.write_text(f'{{"events":{events}}}'.replace("'", '"'))
    return file


STORED = '200 {"accepted":2,"discarded":0}'


@pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK")
def test_the_http_client_of_java_sends_a_batch(server: Service, batch: Path) -> None:
    program = batch.with_name("Post.java")
    program.write_text(JAVA)
    url = f"{server.url}/v1/events"
    done = subprocess.run(["java", program, url, batch], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [STORED] * 2, done.stderr  # its length told, then chunked


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_with_http2_sends_a_batch(server: Service, batch: Path) -> None:
    options = ["--http2", "-sS", "-w", "%{http_code} ", "-H", "Content-Type: application/json"]
    done = subprocess.run(
        ["curl", *options, "-o", "-", "-d", f"@{batch}", f"{server.url}/v1/events"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ['{"accepted":2,"discarded":0}200'], done.stderr
