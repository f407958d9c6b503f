"""Startup time of `import synthgen`, `synthgen --help` and `synthgen --version`, in seconds.

    python -m benchmarks.startup --rounds 15

Whole processes, from start to end, compared with an interpreter that does nothing. Targets: the import adds less than
0.2 s to that interpreter's time, and `--help` takes at most 0.5 s.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SYNTHGEN = Path(sys.executable).with_name("synthgen")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import synthgen'": [sys.executable, "-c", "import synthgen"],
    "synthgen --help": [SYNTHGEN, "--help"],
    "synthgen --version": [SYNTHGEN, "--version"],
}


def seconds(command: list[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for name, command in COMMANDS.items():
        seconds(command)  # writes the bytecode where there is none
        taken = [seconds(command) for _ in range(rounds)]
        print(f"{name}: {median(taken):.3f} s ({min(taken):.3f} to {max(taken):.3f})")


if __name__ == "__main__":
    main()
