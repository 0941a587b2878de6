"""`python -m tests.training.large.bad_row`: in a CSV file of 300 MB, an error in the last block names its line."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.training.large.random_table import TARGET, write_table

ROWS = 1_700_000
ROWS_AFTER = 1000


def main(rows: int = ROWS) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.csv"
        write_table(path, rows)
        with path.open("a") as file:
            file.write("1.5,2.5\n" + "1,2,3,4,5,6,7,a,b,2020-01-01,8\n" * ROWS_AFTER)
        command = [sys.executable, "-m", "training", "inspect", "--data", str(path), "--target", TARGET]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        message = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        size = path.stat().st_size
    line = rows + 2  # line 1 is the header
    if os.waitstatus_to_exitcode(status) != 2 or f"(line {line}, if none is blank) has 2 cells" not in message:
        raise SystemExit(f"error: exit code {os.waitstatus_to_exitcode(status)}: {message[-500:]}")
    print(f"{size / 1e6:.0f} MB, peak {usage.ru_maxrss * 1024 / 1e6:.0f} MB: {message.splitlines()[-1]}")


if __name__ == "__main__":
    main()
