"""What prompts cost with the product's planner and with others' strategies, as multiples of the cheapest possible plan.

    make bench-cache CACHEBENCH=/path/to/cachebench [CACHE_SEEDS=5,6]

Needs the folder of the judge, `cachebench`, which replays its traces through the vendors' billing rules.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLANNER = "benchmarks.cachebench_adapter:Planner"
MODELS = (
    "anthropic/claude-sonnet-4.6",
    "anthropic/claude-sonnet-5.5",
    "anthropic/claude-haiku-4.5",
    "openai/gpt-5.6-sol",
    "qwen/qwen3-max",
)
STRATEGIES = (
    "none,system_only,system_only_1h,litellm_auto,toplevel_auto,toplevel_auto_1h,roo_kilo_last2,opencode,aider,"
    "librechat_1h,owui_pipe,zed_1h_sys_5m_tail,rule_of_thumb"
)
Result = dict[str, Any]


def judge(folder: Path, seeds: str) -> list[Result]:
    """The judge's results, one a model, family and seed."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "results.json"
        paths = os.pathsep.join(map(str, (folder, ROOT, ROOT / "src")))
        command = [sys.executable, "-m", "cachebench", "run", "--jobs", "1", "--model", ",".join(MODELS)]
        command += ["--strategies", f"{PLANNER},{STRATEGIES}", "--json", str(out)]
        if seeds:
            command += ["--seeds", seeds]
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        read: list[Result] = json.loads(out.read_text())
    return read


def ratios(results: list[Result], model: str, strategy: str) -> dict[str, float]:
    """By family: cost over the bound, the geometric mean over seeds."""
    found: dict[str, list[float]] = {}
    for result in results:
        if result["model"] == model:
            found.setdefault(result["family"], []).append(result["rows"][strategy]["ratio"])
    return {family: geometric_mean(each) for family, each in found.items()}


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def table(results: list[Result]) -> str:
    """Families and all strategies; in each cell the models' figures, one below the other's heading."""
    names = [model.partition("/")[2] for model in MODELS]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines.append("| **planner, by family** |" + " |" * len(names))
    by_model = [ratios(results, model, PLANNER) for model in MODELS]
    for family in by_model[0]:
        lines.append(f"| {family} | " + " | ".join(f"{each[family]:.3f}" for each in by_model) + " |")
    lines.append("| **all families: mean (worst)** |" + " |" * len(names))
    for strategy in (PLANNER, *STRATEGIES.split(",")):
        cells = []
        for model in MODELS:
            values = list(ratios(results, model, strategy).values())
            cells.append(f"{geometric_mean(values):.3f} ({max(values):.2f})")
        name = "**planner**" if strategy == PLANNER else strategy
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| families in which it loses money: planner |" + _losers(results, PLANNER))
    lines.append("| the same: litellm_auto |" + _losers(results, "litellm_auto"))
    return "\n".join(lines)


def _losers(results: list[Result], strategy: str) -> str:
    cells = []
    for model in MODELS:
        savings: dict[str, list[float]] = {}
        for result in results:
            if result["model"] == model:
                savings.setdefault(result["family"], []).append(result["rows"][strategy]["saving"])
        cells.append(str(sum(sum(each) / len(each) < -1e-9 for each in savings.values())))
    return " " + " | ".join(cells) + " |"


def main() -> int:
    folder = os.environ.get("CACHEBENCH")
    if not folder or not (Path(folder) / "cachebench").is_dir():
        print("Name the judge's folder: make bench-cache CACHEBENCH=/path/to/cachebench", file=sys.stderr)
        return 2
    results = judge(Path(folder).resolve(), os.environ.get("CACHE_SEEDS", ""))
    print(table(results))
    refused = sum(result["rows"][PLANNER]["errors"] for result in results)
    print(f"\nrequests the vendors would have refused: {refused}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
