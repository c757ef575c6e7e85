"""The README says what the program has."""

from pathlib import Path

import openrouter_emulator
from openrouter_emulator.__main__ import build_parser
from openrouter_emulator.application import API_ROUTES, CONTROL_ROUTES
from openrouter_emulator.faults.library import FAULTS

README = (Path(openrouter_emulator.__file__).parent / "README.md").read_text()


class TestReadme:
    def test_it_lists_every_fault_and_no_other(self) -> None:
        listed = {
            line.split("`")[1] for line in README.partition("**Refused")[2].splitlines() if line.startswith("| `")
        }
        assert listed == set(FAULTS)

    def test_it_lists_every_control_endpoint(self) -> None:
        assert not [route.path for route in CONTROL_ROUTES if route.path.partition("/catalogue")[0] not in README]

    def test_it_lists_every_option(self) -> None:
        options = [option for action in build_parser()._actions for option in action.option_strings]
        assert not [option for option in options if option.startswith("--") and option not in README + "--help"]

    def test_it_lists_every_endpoint(self) -> None:
        undocumented = [route.path for route in API_ROUTES if route.path not in README]
        assert set(undocumented) <= {"/models/user"}
