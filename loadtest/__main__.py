"""`python -m loadtest SCENARIO …`: Locust with one of our scenarios, from the repository's root.

All options of Locust work: -u users, -t 60s, --headless, --processes 2, --master, --worker.
Without --headless Locust serves its web page at port 8089.
"""

from __future__ import annotations

import ast
import sys

from locust import main as locust_main

from loadtest.command_line import free_port
from loadtest.harness import FOLDER


def main() -> int:
    """Run the scenario; return 0 if its thresholds held, 1 if breached, 2 for wrong use."""
    scenarios = {path.stem: path for path in sorted(FOLDER.glob("[a-z]*.py"))}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in scenarios:
        print(f"usage: python -m loadtest SCENARIO [options]\n\n{__doc__}\nscenarios:")
        for each, path in scenarios.items():
            about = ast.get_docstring(ast.parse(path.read_text())) or ""
            print(f"  {each:8} {about.splitlines()[0]}")
        print(
            "\nExample: python -m loadtest steady -u 5 -t 60s --headless"
            " --host http://127.0.0.1:8080\nall options: python -m loadtest steady --help"
        )
        return 0 if name in ("-h", "--help") else 2
    rest = sys.argv[2:]
    if name == "replay" and rest and not rest[0].startswith("-"):
        rest = ["--file", *rest]
    sys.argv = ["loadtest", "-f", str(scenarios[name]), *rest, *own_master(rest)]
    locust_main.main()  # type: ignore[no-untyped-call]
    return 0


def own_master(options: list[str]) -> list[str]:
    """Return more options for `--processes`: a port of this run, on this machine only.

    On Locust's fixed port, which is open on all addresses, workers could join another run.
    """
    names = {option.partition("=")[0] for option in options}
    if "--processes" not in names or names & {"--worker", "--master-bind-port", "--master-port"}:
        return []
    port = str(free_port())
    return ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]


if __name__ == "__main__":
    sys.exit(main())
