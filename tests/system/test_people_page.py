"""The page for people at `/` works in a real browser that reaches nothing but the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from dev.cluster import Cluster
from dev.game_events import DAY_MS, end, now_ms, start
from dev.service import Server, new_key, new_keyspace, run_schema_apply, variables, wait_for
from tests.browsing import Scripted, prefixed, requested

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = (
    "chart.js", "client.js", "countries.js", "elements.js", "page.css", "page.js", "player.js",
    "timeline.js", "words.js", "uPlot.iife.min.js", "uPlot.min.css",
)  # fmt: skip
HOUR = 3_600_000
PLAYER = uuid4()
SESSIONS = 25  # of PLAYER, so that there is a second page
CROWD = {"FI": 9, "SE": 6, "DE": 4, "UK": 3, "BR": 2, "IN": 1, "ZZ": 1}  # starts of many players


def element(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def text(browser: Chrome, selector: str) -> str:
    return element(browser, selector).text


def waits_for_text(browser: Chrome, selector: str, words: str) -> str:
    """Wait until an element shows these words; return its whole text."""

    def shown() -> str | None:
        found = text(browser, selector)
        return found if words in found else None

    try:
        whole: str = wait_for(shown, what=f"{selector} says {words!r}")
    except AssertionError:
        raise AssertionError(f"{selector} says {text(browser, selector)!r}") from None
    return whole


def look_up(browser: Chrome, player: str) -> None:
    field = element(browser, "#player-id")
    field.clear()
    field.send_keys(player, Keys.ENTER)


def rows(browser: Chrome, table: str) -> list[list[str]]:
    """Return the texts of a table's body, also where the page hides it."""
    found: list[list[str]] = browser.execute_script(
        "return [...document.querySelectorAll(`${arguments[0]} tbody tr`)]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))",
        table,
    )
    return found


def errors(browser: Chrome) -> list[str]:
    """Return what the console has, but for the browser's own line about a refused request."""
    logged: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [
        line["message"] for line in logged if "the server responded with" not in line["message"]
    ]


def logged(browser: Chrome) -> list[str]:
    entries: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


def is_wider_than_the_screen(browser: Chrome) -> bool:
    wider: bool = browser.execute_script(
        "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wider


def colours_of_chart(browser: Chrome) -> set[str]:
    """Return the colours of the chart's pixels that stand for many others."""
    found: list[str] = browser.execute_script("""
        const canvas = document.querySelector("#chart canvas");
        if (!canvas) return [];
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const counts = new Map();
        for (let at = 0; at < data.length; at += 4) {
          if (data[at + 3] < 255) continue;
          const colour = `${data[at]},${data[at + 1]},${data[at + 2]}`;
          counts.set(colour, (counts.get(colour) ?? 0) + 1);
        }
        return [...counts].filter(([, count]) => count > 50).map(([colour]) => colour);
    """)
    return set(found)


def series_colours(browser: Chrome) -> list[str]:
    """Return the colours of the legend, as the style sheet has them."""
    found: list[str] = browser.execute_script("""
        return [...document.querySelectorAll("#legend li")].map((item) =>
          getComputedStyle(item, "::before").backgroundColor.replace(/[^0-9,]/g, ""));
    """)
    return found


@pytest.fixture(scope="module")
def alone(cassandra: Cluster) -> Iterator[Server]:
    """Share a service on a keyspace of its own, so that its starts per country are known.

    PLAYER has 25 complete sessions of half an hour, one a day, which are older than the starts per
    country reach back, and one that goes on. Many other players started three hours ago. All of
    this is stored before any page has the starts counted.
    """
    keyspace, now = new_keyspace(), now_ms()
    run_schema_apply(cassandra, keyspace)
    events = [start(PLAYER, uuid4(), now - 10 * 60_000, "SE")]
    for at in (now - days * DAY_MS for days in range(10, 10 + SESSIONS)):
        session = uuid4()
        events += [start(PLAYER, session, at), end(PLAYER, session, at + HOUR // 2)]
    for country, count in CROWD.items():
        events += [start(uuid4(), uuid4(), now - 3 * HOUR, country) for _ in range(count)]
    with Server(variables(cassandra, keyspace)) as server:
        server.ready()
        for first in range(0, len(events), 10):
            assert server.post(*events[first : first + 10]).status_code == 200
        yield server


@pytest.fixture
def player(alone: Server) -> UUID:
    return PLAYER


@pytest.fixture
def starts(alone: Server) -> dict[str, int]:
    """The starts per country of the last day."""
    return {**CROWD, "SE": CROWD["SE"] + 1}


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_the_page_and_its_files_may_load_only_from_the_service(server: Server, path: str) -> None:
    answer = server.http.get(path, headers=HTML)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "//" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = server.http.head(path, headers=HTML)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", HTML["Accept"]])
def test_the_original_contract_answers_whatever_a_client_with_a_body_accepts(
    server: Server, accept: str | None
) -> None:
    player, now = uuid4(), now_ms()
    server.post(start(player, uuid4(), now - 1000), end(player, session := uuid4(), now))
    server.post(start(player, session, now - 1000))
    request = server.http.build_request("GET", "/", json={"player_id": player.hex})
    request.headers.pop("Accept")
    if accept is not None:
        request.headers["Accept"] = accept
    answer = server.http.send(request)
    assert answer.headers["content-type"] == "application/json"
    assert [each["session_id"] for each in answer.json()["sessions"]] == [str(session)]


def test_a_player_is_looked_up_and_the_next_page_follows(
    browser: Chrome, alone: Server, player: UUID
) -> None:
    browser.get(alone.url)
    look_up(browser, f"  {player}  ")
    waits_for_text(browser, "#player .status", "20 complete sessions")
    assert text(browser, "#player-name") == player.hex
    assert text(browser, "#presence") == "online"
    assert "in Sweden (SE), 10 min" in text(browser, "#latest")
    listed = alone.sessions(player)
    shown = rows(browser, "#sessions")
    assert [row[-1] for row in shown] == [each["session_id"] for each in listed]
    assert shown[0][2:4] == ["30 min", "Finland (FI)"]
    assert shown[0][0] == listed[0]["started_at"][:19].replace("T", " ")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#timeline .bar.open")) >= 1

    element(browser, "#older").click()
    waits_for_text(browser, "#player .status", "25 complete sessions")
    assert len({row[-1] for row in rows(browser, "#sessions")}) == SESSIONS
    assert len(browser.find_elements(By.CSS_SELECTOR, "#timeline .bar:not(.open)")) >= SESSIONS
    assert not element(browser, "#older").is_displayed()


def test_a_player_without_sessions_is_told_in_words(browser: Chrome, alone: Server) -> None:
    browser.get(alone.url)
    look_up(browser, uuid4().hex)
    waits_for_text(browser, "#player .status", "This player has no complete session.")
    assert text(browser, "#presence") == "offline"
    assert text(browser, "#latest") == "No session has started."
    assert not element(browser, "#history").is_displayed()


@pytest.mark.parametrize("name", ["<b>x</b>", "a/b?c#d%2e", "Zoë 🎮", "%"])
def test_any_text_may_be_a_player_id(browser: Chrome, alone: Server, name: str) -> None:
    browser.get(alone.url)
    browser.execute_script("document.querySelector('#player-id').value = arguments[0]", name)
    element(browser, "#player-form button").click()
    waits_for_text(browser, "#player .status", "This player has no complete session.")
    assert text(browser, "#player-name") == name
    assert browser.find_elements(By.CSS_SELECTOR, "#player-name *") == []


@pytest.mark.parametrize("name", [".", ".."])
def test_an_id_that_no_browser_can_send_is_refused_in_words(
    browser: Chrome, alone: Server, name: str
) -> None:
    browser.get(alone.url)
    look_up(browser, name)
    waits_for_text(browser, "#player .status", "A browser cannot send this id")


def test_a_wrong_id_is_refused_with_the_services_words(browser: Chrome, alone: Server) -> None:
    browser.get(alone.url)
    look_up(browser, "undefined")
    waits_for_text(browser, "#player .status", "Invalid parameter (400)")
    assert not element(browser, "#player .again").is_displayed()


def test_starts_per_country_are_drawn_and_told_in_tables(
    browser: Chrome, alone: Server, starts: dict[str, int]
) -> None:
    browser.get(alone.url)
    total = sum(starts.values())
    waits_for_text(browser, "#countries .status", f"{total} starts from ")
    shown = rows(browser, "#by-country")
    assert {row[0].split("(")[-1].strip(")"): int(row[1]) for row in shown} == starts
    assert [row[0] for row in shown[:2]] == ["Finland (FI)", "Sweden (SE)"]
    assert shown[0][2] == f"{9 / total:.1%}"
    hours = rows(browser, "#by-hour")
    assert len(hours) == 24
    assert sum(int(row[1]) for row in hours) == total
    for row in hours:
        assert int(row[1]) == sum(map(int, row[2:]))

    legend = text(browser, "#legend").splitlines()
    assert legend[0] == "Finland (FI)"
    assert (len(legend), legend[-1]) == (6, "Other countries")
    assert set(series_colours(browser)) <= colours_of_chart(browser)

    Select(element(browser, "#hours")).select_by_visible_text("the last 7 days")
    wait_for(lambda: len(rows(browser, "#by-hour")) == 168, what="the hours of a week")


def test_a_pointer_on_a_bar_reads_its_figures(
    browser: Chrome, alone: Server, starts: dict[str, int]
) -> None:
    browser.get(alone.url)
    waits_for_text(browser, "#reading", "Point at a bar")
    busy = next(i for i, row in enumerate(rows(browser, "#by-hour")) if int(row[1]) >= 20)
    browser.execute_script(
        """
        const over = document.querySelector("#chart .u-over");
        const { left, top, width } = over.getBoundingClientRect();
        over.dispatchEvent(new MouseEvent("mousemove", {
          bubbles: true, clientX: left + width * (arguments[0] + 0.5) / 24, clientY: top + 20,
        }));
        """,
        busy,
    )
    assert "Finland (FI) 9" in waits_for_text(browser, "#reading", ":00: ")


def test_the_page_makes_no_error_and_asks_no_other_host(
    browser: Chrome, alone: Server, player: UUID
) -> None:
    browser.get(alone.url)
    waits_for_text(browser, "#countries .status", " starts from ")
    look_up(browser, player.hex)
    waits_for_text(browser, "#player .status", "complete sessions")
    assert logged(browser) == []
    urls = requested(browser)
    assert f"{alone.url}/v1/players/{player.hex}" in urls
    assert [url for url in urls if not url.startswith(f"{alone.url}/")] == []


def test_the_page_works_behind_a_prefix(browser: Chrome, alone: Server, player: UUID) -> None:
    with prefixed(alone, "/games/sessions") as proxy:
        browser.get(f"{proxy}/games/sessions/")
        look_up(browser, player.hex)
        waits_for_text(browser, "#player .status", "complete sessions")
        links = [each.get_attribute("href") for each in browser.find_elements(By.TAG_NAME, "a")]
        assert f"{proxy}/games/sessions/docs" in links
        assert logged(browser) == []
        assert [url for url in requested(browser) if "/games/sessions/" not in url] == []


@pytest.fixture(scope="module")
def keyed(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str, str]]:
    """Share a service that asks for keys; a key that may read, and one that may not."""
    (reads, line), (sends, other) = new_key("reader", ("read",)), new_key("game", ("ingest",))
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"{line}\n{other}")
    with Server(variables(cassandra, keyspace, KEYS_FILE=str(file))) as server:
        yield server.ready(), reads, sends


def enter_key(browser: Chrome, key: str) -> None:
    element(browser, "#key-input").send_keys(key, Keys.ENTER)


def test_a_key_is_asked_for_kept_for_the_tab_and_forgotten(
    browser: Chrome, keyed: tuple[Server, str, str]
) -> None:
    server, reads, sends = keyed
    player = uuid4().hex
    browser.get(server.url)
    waits_for_text(browser, "#key-status", "The service asks for a key.")
    assert logged(browser) == []
    look_up(browser, player)
    waits_for_text(browser, "#player .status", "The service asks for a key.")
    assert browser.switch_to.active_element == element(browser, "#key-input")

    enter_key(browser, "ps_wrong")
    waits_for_text(browser, "#player .status", "The service does not know this key.")
    enter_key(browser, sends)
    waits_for_text(browser, "#player .status", "This key may not read.")
    enter_key(browser, "two words")
    waits_for_text(browser, "#key-status", "without blanks")
    element(browser, "#key-input").clear()
    enter_key(browser, reads)
    waits_for_text(browser, "#player .status", "no complete session")
    waits_for_text(browser, "#countries .status", " starts from ")
    assert errors(browser) == []

    browser.refresh()
    assert "kept for this tab" in text(browser, "#key-state")
    look_up(browser, player)
    waits_for_text(browser, "#player .status", "no complete session")
    assert reads not in browser.page_source
    assert reads not in browser.current_url
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(server.url)
    waits_for_text(browser, "#key-status", "The service asks for a key.")
    browser.close()
    browser.switch_to.window(first)

    element(browser, "#key summary").click()
    element(browser, "#key-forget").click()
    look_up(browser, player)
    waits_for_text(browser, "#player .status", "The service asks for a key.")


def problem(status: int, kind: str = "overloaded", **headers: str) -> tuple[int, Any, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"type": f"urn:{kind}", "title": "T", "status": status, "detail": "D."}


COUNTS = "/v1/countries/starts"


@pytest.mark.parametrize(
    ("answers", "selector", "words"),
    [
        ([problem(503, Retry_After="1")] * 2, "#player .status", "busy or not ready. This page"),
        ([problem(500)], "#player .status", "T (500). D."),
        ([(502, {"Content-Type": "text/html"}, "<html>")], "#player .status", "(502)"),
        ([problem(404)], "#player .status", "does not offer this"),
    ],
)
def test_an_error_is_told_in_words_and_can_be_tried_again(
    browser: Chrome,
    alone: Server,
    player: UUID,
    answers: list[tuple[int, dict[str, str], Any]],
    selector: str,
    words: str,
) -> None:
    with prefixed(alone, "", {f"/v1/players/{player.hex}/sessions": list(answers)}) as proxy:
        browser.get(proxy)
        look_up(browser, player.hex)
        waits_for_text(browser, selector, words)
        if answers[0][0] != 503:  # the page asks again by itself after a 503
            element(browser, "#player .again").click()
        waits_for_text(browser, "#player .status", "20 complete sessions")
    assert errors(browser) == []


def test_a_service_that_stays_busy_is_given_up_and_can_be_tried_again(
    browser: Chrome, alone: Server, player: UUID
) -> None:
    path = f"/v1/players/{player.hex}/sessions"
    with prefixed(alone, "", {path: [problem(503, Retry_After="1")] * 6}) as proxy:
        browser.get(proxy)
        look_up(browser, player.hex)
        wait_for(lambda: element(browser, "#player .again").is_displayed(), what="a button")
        assert text(browser, "#player .status") == "The service is busy or not ready."
        element(browser, "#player .again").click()
        waits_for_text(browser, "#player .status", "20 complete sessions")


def test_a_service_that_cannot_be_reached_is_told_in_words(
    browser: Chrome, alone: Server, player: UUID
) -> None:
    with prefixed(alone, "") as proxy:
        browser.get(proxy)
        waits_for_text(browser, "#countries .status", " starts from ")
    look_up(browser, player.hex)
    waits_for_text(browser, "#player .status", "The service cannot be reached.")
    assert element(browser, "#player .again").is_displayed()


def test_the_page_waits_while_the_service_counts(browser: Chrome, alone: Server) -> None:
    scripted: Scripted = {COUNTS: [problem(503, "still-counting", Retry_After="1")] * 7}
    with prefixed(alone, "", scripted) as proxy:
        browser.get(proxy)
        waits_for_text(browser, "#countries .status", "The service is still counting.")
        waits_for_text(browser, "#countries .status", " starts from ")


def test_the_starts_per_country_are_hidden_where_they_are_switched_off(
    browser: Chrome, alone: Server, cassandra: Cluster, keyspace: str
) -> None:
    with Server(variables(cassandra, keyspace, COUNTRY_HOURS="0")) as server:
        browser.get(server.ready().url)
        look_up(browser, uuid4().hex)
        waits_for_text(browser, "#player .status", "no complete session")
        assert not element(browser, "#countries").is_displayed()
        assert logged(browser) == []
    with prefixed(alone, "", {COUNTS: [problem(404)]}) as proxy:
        browser.get(proxy)
        wait_for(lambda: not element(browser, "#countries").is_displayed(), what="it is hidden")


def test_the_hours_offered_are_those_that_are_kept(
    browser: Chrome, cassandra: Cluster, keyspace: str
) -> None:
    with Server(variables(cassandra, keyspace, COUNTRY_HOURS="30")) as server:
        browser.get(server.ready().url)
        offered = [option.text for option in Select(element(browser, "#hours")).options]
        assert offered == ["the last 6 hours", "the last 24 hours", "the last 30 hours"]
        waits_for_text(browser, "#countries .status", " starts from ")


def test_everything_can_be_done_with_the_keyboard(
    browser: Chrome, alone: Server, player: UUID, starts: dict[str, int]
) -> None:
    browser.get(alone.url)
    waits_for_text(browser, "#countries .status", " starts from ")

    def press(*keys: str) -> WebElement:
        browser.switch_to.active_element.send_keys(*keys)
        return browser.switch_to.active_element

    def tab_to(wanted: Callable[[WebElement], bool]) -> WebElement:
        for _ in range(15):
            if wanted(focused := press(Keys.TAB)):
                return focused
        raise AssertionError("the keyboard does not reach it")

    assert press(Keys.TAB).text == "Skip to the look-up"
    press(Keys.ENTER)
    if browser.switch_to.active_element.get_attribute("id") != "player-id":
        tab_to(lambda each: each.get_attribute("id") == "player-id")
    press(player.hex, Keys.ENTER)
    waits_for_text(browser, "#player .status", "20 complete sessions")
    tab_to(lambda each: each.get_attribute("id") == "older")
    press(Keys.ENTER)
    waits_for_text(browser, "#player .status", "25 complete sessions")
    assert browser.switch_to.active_element.tag_name == "table"
    tab_to(lambda each: each.get_attribute("id") == "hours")
    press(Keys.ARROW_DOWN)
    wait_for(lambda: len(rows(browser, "#by-hour")) == 48, what="the hours of two days")
    tab_to(lambda each: each.tag_name == "summary")
    press(Keys.ENTER)
    assert element(browser, "#by-hour table").is_displayed()


def test_each_field_table_picture_and_status_has_its_words_for_a_screen_reader(
    browser: Chrome, alone: Server, player: UUID, starts: dict[str, int]
) -> None:
    browser.get(alone.url)
    waits_for_text(browser, "#countries .status", " starts from ")
    look_up(browser, player.hex)
    waits_for_text(browser, "#player .status", "complete sessions")
    lacking = browser.execute_script("""
        const all = (selector) => [...document.querySelectorAll(selector)];
        return [
          ...all("input, select").filter((each) => !each.labels.length),
          ...all("table").filter((each) => !each.caption?.textContent),
          ...all("th").filter((each) => !each.scope),
          ...all("[role=img], [role=region]").filter((each) => !each.ariaLabel),
          ...all("section").filter((each) => !each.querySelector("[role=status]")),
          ...all("button").filter((each) => !each.textContent),
        ].map((each) => each.outerHTML);
    """)
    assert lacking == []
    assert len(browser.find_elements(By.TAG_NAME, "table")) == 3
    assert element(browser, "html").get_attribute("lang") == "en"


def emulate(browser: Chrome, *, scheme: str = "light", width: int = 1200) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def test_dark_mode_has_colours_of_its_own_in_the_chart_too(
    browser: Chrome, alone: Server, starts: dict[str, int]
) -> None:
    emulate(browser, scheme="light")
    browser.get(alone.url)
    waits_for_text(browser, "#countries .status", " starts from ")

    def contrast() -> tuple[int, int]:
        """Return how bright the text and its ground are, from 0 to 765."""
        found = browser.execute_script(
            "const style = getComputedStyle(document.body);"
            "return [style.color, style.backgroundColor]"
        )
        text, ground = (sum(json.loads(f"[{each[4:-1]}]")) for each in found)
        return text, ground

    text_light, ground_light = contrast()
    light = set(series_colours(browser))
    assert ground_light - text_light > 400
    assert light <= colours_of_chart(browser)
    emulate(browser, scheme="dark")
    text_dark, ground_dark = contrast()
    assert text_dark - ground_dark > 400
    dark = set(series_colours(browser))
    assert len(dark - light) >= 5
    wait_for(lambda: dark <= colours_of_chart(browser), what="the chart in the dark colours")


@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_narrow_screen_needs_no_scrolling_sideways(
    browser: Chrome, alone: Server, player: UUID, starts: dict[str, int], width: int
) -> None:
    emulate(browser, width=width)
    browser.get(alone.url)
    waits_for_text(browser, "#countries .status", " starts from ")
    look_up(browser, player.hex)
    waits_for_text(browser, "#player .status", "complete sessions")
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = 1")
    assert not is_wider_than_the_screen(browser)
    chart = element(browser, "#chart canvas")
    assert chart.size["width"] <= width
    emulate(browser, width=1200)
    wait_for(lambda: chart_width(browser) > 700, what="the chart grows with the screen")
    emulate(browser, width=width)
    wait_for(lambda: chart_width(browser) < width, what="the chart shrinks with the screen")
    assert not is_wider_than_the_screen(browser)


def chart_width(browser: Chrome) -> int:
    width: int = element(browser, "#chart canvas").size["width"]
    return width
